"""Other people's clients against the real model server: Triton's, the KServe SDK's, the original app's, Java's, curl's."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib
import json
import os
import queue
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import requests
import tritonclient.grpc
import tritonclient.grpc.aio
from tritonclient.utils import InferenceServerException

from fraud_demo.core import FEATURE_NAMES
from fraud_demo.serving import decode_answer
from fraud_demo.training import run_onnx
from tests.serving.server import NAME, Server, publish, wait_until

OUTPUTS = ("fraud_probability", "is_fraud", "threshold")


@pytest.fixture(scope="module")
def server(small, tmp_path_factory):
    """The model server's own command, with the small model as version 3."""
    folder = tmp_path_factory.mktemp("clients")
    publish(folder, "3", small[1].onnx_path.read_bytes())
    with Server(folder / "server.log", "--model-dir", folder) as server:
        wait_until(server.is_ready)
        yield server


@pytest.fixture(scope="module")
def rows(small):
    """A hundred test rows."""
    return np.ascontiguousarray(small[0].test.features[:100], np.float32)


@pytest.fixture(scope="module")
def expected(small, rows):
    """What ONNX Runtime says about the rows: output name to values."""
    return run_onnx(small[1].onnx_path, rows)


def assert_equal(got, expected):
    """Compare outputs to the bit; `got` maps a name to an array."""
    assert list(got) == list(OUTPUTS)
    for name, values in got.items():
        want = expected[name].reshape(-1, 1)
        assert values is not None and values.shape == want.shape, name
        assert values.dtype == want.dtype and values.tobytes() == want.tobytes(), name


# ---- the original demo's application: its REST client in our own words


EXAMPLES = {  # the two that its page offers, and one that is fraud for certain
    "57.87785658389723, 0.3111400080477545, 1.9459399775518593, 1.0, 1.0, 0.0, 0.0": False,
    "15.694985541059943, 175.98918151972342, 0.8556228290724207, 1.0, 0.0, 0.0, 1.0": False,
    "100, 0, 9.5, 0, 0, 0, 1": True,
}


@pytest.mark.parametrize("values", EXAMPLES)
def test_the_original_application(server, small, values):
    """It posts these bytes to INFERENCE_ENDPOINT and looks at one place of the answer, without looking at the status."""
    body = f'{{"inputs": [{{"name": "dense_input", "shape": [1, 7], "datatype": "FP32", "data": [[{values}]]}}]}}'
    endpoint = f"{server.url}/v2/models/{NAME}/infer"
    answer = requests.post(endpoint, body.encode(), headers={"content-type": "application/json"}, timeout=10)
    score = answer.json()["outputs"][0]["data"][0]
    row = np.array([json.loads(f"[{values}]")], np.float32)
    assert score == run_onnx(small[1].onnx_path, row)["fraud_probability"][0]
    assert (score >= 0.995) is EXAMPLES[values]


# ---- Triton's clients


def open_triton(kind):
    """Import one of Triton's two client libraries."""
    try:
        return importlib.import_module(f"tritonclient.{kind}")
    except RuntimeError:  # how it says that a package is missing
        reason = f"tritonclient has no {kind} part here: install tritonclient[{kind}]"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)


@pytest.fixture(scope="module", params=["http", "grpc"])
def triton(request, server):
    """One of the two libraries, and a client of it."""
    library = open_triton(request.param)
    address = server.grpc_url if request.param == "grpc" else server.url.removeprefix("http://")
    with library.InferenceServerClient(address) as client:
        yield library, client


def is_http(triton):
    return triton[0].__name__ == "tritonclient.http"


def make_input(library, rows, **options):
    """Wrap rows as one of Triton's libraries wants them."""
    item = library.InferInput("dense_input", list(rows.shape), "FP32")
    item.set_data_from_numpy(rows, **options)
    return item


def read_triton(result):
    """Read all outputs of an answer."""
    return {name: result.as_numpy(name) for name in OUTPUTS}


def catch_triton(call, *arguments, **options):
    """Return the error that a call must raise."""
    with pytest.raises(InferenceServerException) as caught:
        call(*arguments, **options)
    return caught.value


def test_triton_infer(triton, rows, expected):
    library, client = triton
    item = make_input(library, rows)
    asked = [library.InferRequestedOutput(name) for name in OUTPUTS]
    more = {"request_id": "mine", "model_version": "3", "priority": 1, "timeout": 10**7, "sequence_id": 7}
    for options in ({}, {"outputs": asked}, more, {"parameters": {"a": 1}}, {"headers": {"x-request": "1"}}):
        result = client.infer(NAME, [item], **options)
        assert_equal(read_triton(result), expected)
        head = result.get_response(as_json=True) if not is_http(triton) else result.get_response()
        assert head["model_version"] == "3" and head["model_name"] == NAME
        assert head["id"] == "mine" if "request_id" in options else head["id"]
    result = client.infer(NAME, [item], outputs=[library.InferRequestedOutput("is_fraud")])
    assert (result.as_numpy("is_fraud") == expected["is_fraud"].reshape(-1, 1)).all()
    assert result.as_numpy("threshold") is None


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
@pytest.mark.parametrize("compressed", [None, "gzip", "deflate"])
def test_triton_over_http_in_every_form(server, rows, expected, binary_in, binary_out, compressed):
    """An answer that is wished to be compressed may come as it is."""
    library = open_triton("http")
    asked = [library.InferRequestedOutput(name, binary_data=binary_out) for name in OUTPUTS]
    options = {"outputs": None if binary_out is None else asked, "response_compression_algorithm": compressed}
    with library.InferenceServerClient(server.url.removeprefix("http://")) as client:
        result = client.infer(NAME, [make_input(library, rows, binary_data=binary_in)], **options)
    assert_equal(read_triton(result), expected)


@pytest.mark.parametrize("compressed", ["gzip", "deflate"])
def test_triton_over_grpc_compressed(server, rows, expected, compressed):
    item = make_input(tritonclient.grpc, rows)
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        assert_equal(read_triton(client.infer(NAME, [item], compression_algorithm=compressed)), expected)


def test_triton_async_infer(triton, rows, expected):
    library, client = triton
    item = make_input(library, rows)
    if is_http(triton):
        for request in [client.async_infer(NAME, [item]) for _ in range(3)]:
            assert_equal(read_triton(request.get_result(timeout=10)), expected)
        return
    answers = queue.Queue()
    for _ in range(3):
        client.async_infer(NAME, [item], lambda result, error: answers.put((result, error)))
    for _ in range(3):
        result, error = answers.get(timeout=10)
        assert error is None
        assert_equal(read_triton(result), expected)


def test_triton_with_asyncio(server, rows, expected):
    over_http = open_triton("http")
    places = (
        (open_triton("http.aio"), server.url.removeprefix("http://"), over_http),
        (tritonclient.grpc.aio, server.grpc_url, tritonclient.grpc),
    )

    async def ask(library, address, wrap):
        async with library.InferenceServerClient(address) as client:
            assert await client.is_model_ready(NAME)
            item = make_input(wrap, rows)
            return await asyncio.gather(*(client.infer(NAME, [item]) for _ in range(3)))

    for place in places:
        for result in asyncio.run(ask(*place)):
            assert_equal(read_triton(result), expected)


def test_triton_streams_are_refused(server, rows):
    answers = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        with contextlib.suppress(InferenceServerException):  # the refusal may be there before the request
            client.async_stream_infer(NAME, [make_input(tritonclient.grpc, rows)])
        result, error = answers.get(timeout=10)
        assert result is None and error.status() == "StatusCode.UNIMPLEMENTED"
        client.stop_stream()


def test_triton_is_told_what_is_here(triton):
    _, client = triton
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(NAME) and client.is_model_ready(NAME, "3")
    for absent in ((NAME, "4"), ("other",)):
        if is_http(triton):
            assert client.is_model_ready(*absent) is False
        else:
            assert catch_triton(client.is_model_ready, *absent).status() == "StatusCode.NOT_FOUND"
    as_json = {} if is_http(triton) else {"as_json": True}
    server = client.get_server_metadata(**as_json)
    assert server["name"] and server["version"] and "binary_tensor_data" in server["extensions"]
    for version in ("", "3"):
        model = client.get_model_metadata(NAME, version, **as_json)
        assert (model["name"], model["versions"], model["platform"]) == (NAME, ["3"], "onnx")
        shapes = {t["name"]: (t["datatype"], list(map(int, t["shape"]))) for t in model["inputs"]}
        assert shapes == {"dense_input": ("FP32", [-1, len(FEATURE_NAMES)])}
        assert tuple(output["name"] for output in model["outputs"]) == OUTPUTS
    for absent in ((NAME, "4"), ("other",)):
        assert "Served: credit-card-fraud version 3" in str(catch_triton(client.get_model_metadata, *absent))


ABSENT = {  # what Triton has and this server has not
    "get_model_config": (NAME,),
    "get_inference_statistics": (NAME,),
    "get_trace_settings": (NAME,),
    "update_trace_settings": (NAME, {"trace_level": "OFF"}),
    "get_log_settings": (),
    "update_log_settings": ({"log_info": True},),
    "get_system_shared_memory_status": (),
    "register_system_shared_memory": ("region", "/region", 64),
    "unregister_system_shared_memory": (),
    "get_cuda_shared_memory_status": (),
    "unregister_cuda_shared_memory": (),
}


@pytest.mark.parametrize("method", ABSENT)
def test_triton_is_told_what_is_not_here(triton, method):
    error = catch_triton(getattr(triton[1], method), *ABSENT[method])
    assert str(error.status()) == ("404" if is_http(triton) else "StatusCode.UNIMPLEMENTED")
    assert error.message()


def test_triton_gets_its_own_mistakes_explained(triton, rows):
    library, client = triton

    def ask(name="dense_input", datatype="FP32", values=rows, **options):
        item = library.InferInput(name, list(values.shape), datatype)
        item.set_data_from_numpy(values)
        return catch_triton(client.infer, options.pop("model", NAME), [item], **options)

    mistakes = {
        "cannot be 'FP64'": {"datatype": "FP64", "values": rows.astype(np.float64)},
        "cannot be 'BYTES'": {"datatype": "BYTES", "values": np.array([["x"]], object)},
        "cannot be [100, 6]": {"values": np.ascontiguousarray(rows[:, :6])},
        "'x' is not an input": {"name": "x"},
        "'score' cannot be asked for": {"outputs": [library.InferRequestedOutput("score")]},
        "no model 'other'": {"model": "other"},
        "in version '4'": {"model_version": "4"},
    }
    for part, mistake in mistakes.items():
        error = ask(**mistake)
        kind = {True: ("404", "StatusCode.NOT_FOUND"), False: ("400", "StatusCode.INVALID_ARGUMENT")}
        assert str(error.status()) == kind["model" in part or "version" in part][not is_http(triton)], error
        assert part in error.message()


def test_triton_loads_and_unloads_over_http(server):
    library = open_triton("http")
    with library.InferenceServerClient(server.url.removeprefix("http://")) as client:
        entry = {"name": NAME, "version": "3", "state": "READY", "reason": ""}
        client.load_model(NAME)
        assert client.get_model_repository_index() == [entry]
        client.unload_model(NAME)
        assert client.get_model_repository_index() == [] and not client.is_model_ready(NAME)
        for call in (client.load_model, client.unload_model):
            assert catch_triton(call, "other").status() == "404"
        client.load_model(NAME)
        assert client.is_model_ready(NAME)


def test_triton_loads_and_unloads_over_grpc(server):
    """Triton's messages have the name in another field than the SDK's."""
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        client.load_model(NAME)
        client.unload_model(NAME)
        try:
            assert catch_triton(client.is_model_ready, NAME).status() == "StatusCode.NOT_FOUND"
        finally:
            client.load_model(NAME)
        assert client.is_model_ready(NAME)
        for call in (client.load_model, client.unload_model):
            error = catch_triton(call, "other")
            assert error.status() == "StatusCode.NOT_FOUND" and "other" in error.message()


def refuse(error, triton, *parts):
    """Check that an error says whose mistake it is, and names what was asked for."""
    known = (
        ("400", "415", "501")
        if is_http(triton)
        else ("StatusCode.INVALID_ARGUMENT", "StatusCode.UNIMPLEMENTED")
    )
    assert str(error.status()) in known, error
    assert any(part in error.message() for part in parts), error.message()


@pytest.mark.parametrize("compressed", ["gzip", "deflate"])
@pytest.mark.parametrize("is_binary", [True, False])
def test_a_compressed_body_is_read_or_refused_by_its_name(server, rows, expected, compressed, is_binary):
    library = open_triton("http")
    with library.InferenceServerClient(server.url.removeprefix("http://")) as client:
        try:
            item = make_input(library, rows, binary_data=is_binary)
            result = client.infer(NAME, [item], request_compression_algorithm=compressed)
        except InferenceServerException as error:
            refuse(error, (library, client), compressed)
        else:
            assert_equal(read_triton(result), expected)


# ---- the KServe SDK's clients, in a process of their own: the SDK and tritonclient.grpc exclude each other


KSERVE = """
import asyncio, logging, sys
import grpc, httpx, numpy as np
from kserve import InferInput, InferRequest, InferenceGRPCClient, InferenceRESTClient, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

logging.disable(logging.CRITICAL)
url, grpc_url, name, folder = sys.argv[1:]
rows, expected = np.load(f"{folder}/rows.npy"), np.load(f"{folder}/expected.npz")


def make_request(is_binary, is_binary_out=None, request_id=None):
    item = InferInput(name="dense_input", shape=list(rows.shape), datatype="FP32")
    item.set_data_from_numpy(rows, binary_data=is_binary)
    outputs = [RequestedOutput(output, {"binary_data": is_binary_out}) for output in expected]
    return InferRequest(model_name=name, infer_inputs=[item], request_id=request_id,
                        request_outputs=None if is_binary_out is None else outputs)


def check(answer, request_id=None):
    assert answer.model_name == name and answer.id and request_id in (None, answer.id)
    assert [output.name for output in answer.outputs] == list(expected)
    for output in answer.outputs:
        values, want = output.as_numpy(), expected[output.name].reshape(-1, 1)
        assert values.dtype == want.dtype and values.shape == want.shape and values.tobytes() == want.tobytes()


async def use_rest():
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        assert await client.is_server_live(url) and await client.is_server_ready(url)
        assert await client.is_model_ready(url, name) and not await client.is_model_ready(url, "other")
        for is_binary in (True, False):
            for is_binary_out in (True, False, None):
                request = make_request(is_binary, is_binary_out, "mine")
                check(await client.infer(url, request, model_name=name), "mine")
            check(await client.infer(url, make_request(is_binary), model_name=name))
        plain = {"name": "dense_input", "shape": list(rows.shape), "datatype": "FP32", "data": rows.tolist()}
        check(await client.infer(url, {"inputs": [plain]}, model_name=name))
        for status, reason, data, model in ((404, "no model 'other'", make_request(True), "other"),
                                            (400, "has 0 inputs", {"inputs": []}, name)):
            try:
                await client.infer(url, data, model_name=model)
                raise AssertionError("it must be refused")
            except httpx.HTTPStatusError as error:
                assert error.response.status_code == status and reason in str(error)


async def use_grpc():
    async with InferenceGRPCClient(grpc_url) as client:
        assert await client.is_server_live() and await client.is_server_ready()
        assert await client.is_model_ready(name)
        for is_binary in (True, False):
            for is_binary_out in (True, None):
                answer = await client.infer(make_request(is_binary, is_binary_out, "mine"))
                assert answer.model_version == "3"
                check(answer, "mine")
            check(await client.infer(make_request(is_binary)))
        try:
            await client.is_model_ready("other")
            raise AssertionError("it must be refused")
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.NOT_FOUND


asyncio.run(use_rest())
asyncio.run(use_grpc())
print("done")
"""


def test_the_clients_of_the_kserve_sdk(server, rows, expected, tmp_path):
    np.save(tmp_path / "rows.npy", rows)
    np.savez(tmp_path / "expected.npz", **{name: expected[name] for name in OUTPUTS})
    command = [sys.executable, "-c", KSERVE, server.url, server.grpc_url, NAME, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "done\n", done.stderr[-3000:]


# ---- plain HTTP clients


def send_with_requests(url, body, headers):
    answer = requests.post(url, data=body, headers=headers, timeout=10)
    return answer.status_code, answer.headers, answer.content


def send_with_httpx(url, body, headers):
    with httpx.Client(timeout=10) as client:
        answer = client.post(url, content=body, headers=headers)
    return answer.status_code, answer.headers, answer.content


def send_with_async_httpx(url, body, headers):
    async def send():
        async with httpx.AsyncClient(timeout=10) as client:
            return await client.post(url, content=body, headers=headers)

    answer = asyncio.run(send())
    return answer.status_code, answer.headers, answer.content


def send_with_http_client(url, body, headers):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    connection.request("POST", parts.path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def send_with_urllib(url, body, headers):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, body, headers), timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def run_curl(*arguments, body=b""):
    """Run curl, and return status, headers and content of the last answer."""
    if not shutil.which("curl"):
        pytest.skip("curl not found")
    command = ["curl", "-sS", "-i", "--max-time", "10", "--noproxy", "*", *arguments]
    done = subprocess.run(command, input=body, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr.decode()
    head, content = b"HTTP/1.1 100 ", done.stdout
    while head.startswith(b"HTTP/1.1 100 "):
        head, _, content = content.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return int(first.split()[1]), httpx.Headers([(name, value) for name, _, value in pairs]), content


def send_with_curl(url, body, headers, *options):
    lines = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    return run_curl(*options, *lines, "--data-binary", "@-", url, body=body)


JAVA = """
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

public class Ask {
    public static void main(String[] arguments) throws Exception {
        HttpClient.Builder builder = HttpClient.newBuilder();
        if (arguments[0].equals("HTTP_1_1")) builder.version(HttpClient.Version.HTTP_1_1);
        HttpClient client = builder.build();
        for (int place = 2; place < arguments.length; place++) {
            HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(arguments[1]));
            for (String line : Files.readAllLines(Path.of(arguments[place] + ".headers")))
                request.header(line.split(": ")[0], line.split(": ")[1]);
            request.POST(HttpRequest.BodyPublishers.ofByteArray(Files.readAllBytes(Path.of(arguments[place]))));
            HttpResponse<byte[]> answer = client.send(request.build(), HttpResponse.BodyHandlers.ofByteArray());
            List<String> lines = new ArrayList<>(List.of("status: " + answer.statusCode()));
            answer.headers().map().forEach((name, values) -> lines.add(name + ": " + values.get(0)));
            Files.write(Path.of(arguments[place] + ".head"), lines);
            Files.write(Path.of(arguments[place] + ".answer"), answer.body());
        }
    }
}
"""


@pytest.fixture
def java(tmp_path):
    """Java's own HTTP client: a function of how it is set, an address, and questions as bodies and headers."""
    if not shutil.which("java"):
        reason = "java not found: .ci/packages installs the Debian package"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)
    (tmp_path / "Ask.java").write_text(JAVA)

    def send(how, url, questions):
        paths = [tmp_path / str(number) for number in range(len(questions))]
        for path, (body, headers) in zip(paths, questions, strict=True):
            path.write_bytes(body)
            path.with_suffix(".headers").write_text("".join(f"{n}: {v}\n" for n, v in headers.items()))
        command = ["java", tmp_path / "Ask.java", how, url, *paths]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        for path in paths:
            lines = path.with_suffix(".head").read_text().splitlines()
            headers = httpx.Headers([tuple(line.split(": ", 1)) for line in lines])
            yield int(headers["status"]), headers, path.with_suffix(".answer").read_bytes()

    return send


def make_questions(rows):
    """The same question as nested JSON, as flat JSON and as raw bytes: body and headers of each."""
    tensor = {"name": "dense_input", "shape": list(rows.shape), "datatype": "FP32"}
    raw = [{**tensor, "parameters": {"binary_data_size": rows.nbytes}}]
    head = json.dumps({"inputs": raw, "parameters": {"binary_data_output": True}}).encode()
    size = {"Inference-Header-Content-Length": str(len(head))}
    return [
        *(
            (
                json.dumps({"inputs": [{**tensor, "data": data}]}).encode(),
                {"Content-Type": "application/json"},
            )
            for data in (rows.tolist(), rows.ravel().tolist())
        ),
        (head + rows.tobytes(), {"Content-Type": "application/octet-stream"} | size),
    ]


MISTAKE = (b'{"inputs": []}', {"Content-Type": "application/json"})


def check_answers(answers, questions, expected):
    """Check what came back for the three forms of a question, and for a mistake after them."""
    *answers, refused = answers
    for (status, answered, content), (_, headers) in zip(answers, questions, strict=True):
        assert status == 200, content
        size = answered.get("Inference-Header-Content-Length")
        assert (size is None) == (headers["Content-Type"] == "application/json")
        assert answered["Content-Type"] == headers["Content-Type"]
        assert_equal(decode_answer(content, size).outputs, expected)
    status, answered, content = refused
    assert status == 400 and answered["Content-Type"] == "application/json"
    assert json.loads(content)["error"].startswith("The request has 0 inputs.")


@pytest.mark.parametrize(
    "send",
    [send_with_requests, send_with_httpx, send_with_async_httpx, send_with_http_client, send_with_urllib,
     send_with_curl],
    ids=lambda send: send.__name__.removeprefix("send_with_"),
)  # fmt: skip
def test_plain_clients(server, rows, expected, send):
    questions = make_questions(rows)
    answers = [send(f"{server.url}/v2/models/{NAME}/infer", *each) for each in [*questions, MISTAKE]]
    check_answers(answers, questions, expected)


def test_java_over_http_1(server, java, rows, expected):
    questions = make_questions(rows)
    answers = java("HTTP_1_1", f"{server.url}/v2/models/{NAME}/infer", [*questions, MISTAKE])
    check_answers(answers, questions, expected)


@pytest.mark.parametrize(
    "options",
    [("-H", "Transfer-Encoding: chunked"), ("-H", "Expect: 100-continue"), ("--http1.0",), ("--compressed",),
     ("-H", "Content-Type:"), ("-H", "Accept: text/html"), ("-H", "Connection: close")],
    ids=" ".join,
)  # fmt: skip
def test_curl_with_options(server, rows, expected, options):
    url = f"{server.url}/v2/models/{NAME}/infer"
    for body, headers in make_questions(rows):
        kept = {name: value for name, value in headers.items() if f"{name}:" not in options}
        status, answered, content = send_with_curl(url, body, kept, *options)
        assert status == 200, content
        size = answered.get("Inference-Header-Content-Length")
        assert_equal(decode_answer(content, size).outputs, expected)


def test_curl_gets_its_mistakes_explained(server):
    url = f"{server.url}/v2/models/{NAME}"
    mistakes = {
        405: [("-X", "PUT", f"{url}/infer"), (f"{url}/infer",), ("-X", "DELETE", url)],
        404: [(f"{server.url}/v1/models",), (f"{url.upper().replace('HTTP', 'http').replace('V2', 'v2')}",),
              (f"{server.url}//v2",)],
        400: [("-F", "row=1", f"{url}/infer"), ("-d", "row=1", f"{url}/infer")],
    }  # fmt: skip
    for status, commands in mistakes.items():
        for command in commands:
            answer = run_curl(*command)
            assert answer[0] == status and answer[1]["Content-Type"] == "application/json", command
            assert list(json.loads(answer[2])) == ["error"]
    status, _, content = run_curl("-G", "-d", "a=b", url)
    assert status == 200 and json.loads(content)["name"] == NAME


# ---- what these clients may ask for and get a wrong or unreadable answer to


def test_java_as_it_is(server, java, rows, expected):
    """It offers HTTP/2 with each request; a server may leave the offer alone, and has to read the body all the same."""
    questions = make_questions(rows)
    answers = java("as it is", f"{server.url}/v2/models/{NAME}/infer", [*questions, MISTAKE])
    check_answers(answers, questions, expected)


@pytest.mark.parametrize("pause_s", [0, 0.1], ids=["in one piece", "in two pieces"])
def test_an_offer_to_upgrade_is_left_alone(server, rows, expected, pause_s):
    """What curl --http2, Java, Spring and Ktor send to a plain address; the connection serves the next request too."""
    body, headers = make_questions(rows)[0]
    offer = {
        "Connection": "Upgrade, HTTP2-Settings",
        "Upgrade": "h2c",
        "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA",
    }
    log = server.log.read_text()
    connection = http.client.HTTPConnection("127.0.0.1", server.http, timeout=10)
    for _ in range(2):
        connection.putrequest("POST", f"/v2/models/{NAME}/infer")
        for name, value in {**headers, **offer, "Content-Length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders(None if pause_s else body)
        if pause_s:
            time.sleep(pause_s)
            connection.send(body)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        assert_equal(decode_answer(content).outputs, expected)
    connection.close()
    assert server.log.read_text() == log


def test_an_answer_in_shared_memory_is_refused(triton, rows):
    """Whoever asks for it reads the memory, and would take what lies there for the answer."""
    library, client = triton
    output = library.InferRequestedOutput("fraud_probability")
    output.set_shared_memory("region", 400)
    error = catch_triton(client.infer, NAME, [make_input(library, rows)], outputs=[output])
    refuse(error, triton, "shared_memory", "shared memory")


def test_a_classification_is_refused(triton, rows):
    """It would be text with a class in it; the plain numbers are another answer."""
    library, client = triton
    output = library.InferRequestedOutput("fraud_probability", class_count=2)
    error = catch_triton(client.infer, NAME, [make_input(library, rows)], outputs=[output])
    refuse(error, triton, "classification")


def test_a_model_that_is_sent_with_the_load_is_refused(triton):
    """Else the client believes that its file serves."""
    _, client = triton
    files = {"file:1/model.onnx": b"a file of the client"}
    for more in ({"config": "{}"}, {"config": "{}", "files": files}):
        refuse(catch_triton(client.load_model, NAME, **more), triton, "config", "file")
    assert client.is_model_ready(NAME)


def test_a_refusal_leaves_no_traceback(server, rows):
    """What a client asks for in vain is not the server's fault, and its log is read by the people who run it."""
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        before = len(server.log.read_text())
        for method, arguments in ABSENT.items():
            assert "NotImplementedError" not in catch_triton(getattr(client, method), *arguments).message()
        client.start_stream(lambda result, error: None)
        with contextlib.suppress(InferenceServerException):
            client.async_stream_infer(NAME, [make_input(tritonclient.grpc, rows)])
        client.stop_stream()
    assert "Traceback" not in server.log.read_text()[before:]
