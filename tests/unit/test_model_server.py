"""The model server: what it accepts, what it answers, how it swaps, starts and stops."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_demo.core import InputError, MissingStepError, ServiceError
from fraud_demo.registry import open_bucket
from fraud_demo.workshop import model_server as ms

NAME = "credit-card-fraud"
BIN = Path(sys.executable).parent
ROW = [10.0, 2.5, 0.5, 1, 0, 0, 1]


def make_onnx(threshold=0.5, input_type="FLOAT", inputs=1):
    "Make a model with the workbook's interface: a sigmoid over a weighted sum."
    from onnx import TensorProto, helper, numpy_helper

    rows = [
        helper.make_tensor_value_info(f"dense_input{i or ''}", getattr(TensorProto, input_type), ["n", 7])
        for i in range(inputs)
    ]
    kinds = {"fraud_probability": "FLOAT", "is_fraud": "INT64", "threshold": "FLOAT"}
    outputs = [helper.make_tensor_value_info(n, getattr(TensorProto, k), ["n", 1]) for n, k in kinds.items()]
    weights = numpy_helper.from_array(np.linspace(-0.3, 0.3, 7, dtype=np.float32).reshape(7, 1), "weights")
    limit = numpy_helper.from_array(np.array([[threshold]], np.float32), "limit")
    nodes = [
        helper.make_node("Cast", ["dense_input"], ["rows"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["rows", "weights"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["fraud_probability"]),
        helper.make_node("GreaterOrEqual", ["fraud_probability", "limit"], ["reached"]),
        helper.make_node("Cast", ["reached"], ["is_fraud"], to=TensorProto.INT64),
        helper.make_node("Shape", ["fraud_probability"], ["shape"]),
        helper.make_node("Expand", ["limit", "shape"], ["threshold"]),
    ]
    graph = helper.make_graph(nodes, "test", rows, outputs, [weights, limit])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


def threshold_of(version):
    "Each published version has a threshold of its own, so that an answer shows who computed it."
    return int(version) / 1000


def publish(folder, version, content=None, name=NAME, **pointer):
    path = folder / f"models/{name}/version-{version}/{version}/model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    if content != b"":
        path.write_bytes(content or make_onnx(threshold_of(version)))
    pointer = {"version": version, "prefix": f"models/{name}/version-{version}"} | pointer
    (folder / f"models/{name}/serving.json").write_text(json.dumps(pointer))


def find_ports(count):
    "Find free ports of the loopback address."
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def wait_until(question, timeout_s=20.0):
    "Ask again until the answer is true; return it."
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.ConnectionError):
            if answer := question():
                return answer
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


class Server:
    "A model server in a process of its own."

    def __init__(self, log, *options, **environ):
        self.http, self.grpc = find_ports(2)
        self.url, self.grpc_url = f"http://127.0.0.1:{self.http}", f"127.0.0.1:{self.grpc}"
        self.log = Path(log)
        ports = ["--http-port", str(self.http), "--grpc-port", str(self.grpc)]
        with self.log.open("wb") as target:
            self.process = subprocess.Popen(
                [BIN / "fraud-demo-model-server", *ports, *map(str, options)],
                stdout=target,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environ},
            )

    def ask(self, path, method="GET", **options):
        return requests.request(method, self.url + path, timeout=30, **options)

    def post(self, path, **options):
        return self.ask(path, "POST", **options)

    def is_ready(self, path=f"/v2/models/{NAME}/ready"):
        assert self.process.poll() is None, self.log.read_text()
        return self.ask(path).status_code == 200

    def stop(self):
        self.process.terminate()
        return self.process.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    publish(folder, "3")
    return folder


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    with Server(tmp_path_factory.mktemp("log") / "server.log", "--model-dir", folder) as server:
        wait_until(server.is_ready)
        yield server


@pytest.fixture(scope="module")
def session():
    import onnxruntime

    return onnxruntime.InferenceSession(make_onnx(threshold_of("3")), providers=["CPUExecutionProvider"])


@pytest.fixture
def grpc_client(server):
    import tritonclient.grpc

    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        yield client


def make_body(data=None, shape=None, **more):
    item = {"name": "dense_input", "shape": shape or [1, 7], "datatype": "FP32", "data": data or ROW}
    return {"inputs": [item], **more}


def infer(server, body, path=f"/v2/models/{NAME}/infer", **options):
    return server.post(path, json=body, **options)


def read_columns(response):
    assert response.status_code == 200, response.text
    return {
        item["name"]: np.array(item["data"]).reshape(item["shape"]) for item in response.json()["outputs"]
    }


# ---- the module


def test_import_is_light():
    heavy = "kserve,onnxruntime,boto3,tritonclient,grpc,fastapi,uvicorn,pandas,nbdev,fastcore,orjson"
    code = (
        "import sys, fraud_demo.workshop.model_server;"
        f"print([m for m in {heavy!r}.split(',') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_sdk_import_leaves_the_command_line_alone():
    code = (
        "import sys; sys.argv = ['x', '--http_port', 'nonsense', '--workers=9'];"
        "from fraud_demo.workshop.model_server import import_kserve; import_kserve(); print(sys.argv)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout.strip() == "['x', '--http_port', 'nonsense', '--workers=9']" and not said.stderr


@pytest.mark.parametrize(
    "wrong", [["--http-port", "0"], ["--http-port", "9", "--grpc-port", "9"], ["--port", "9"]]
)
def test_wrong_options_end_with_2(wrong):
    with pytest.raises(SystemExit, match="2"):
        ms.parse_arguments(wrong)


# ---- what is published


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"version": "3"}',
        b'{"version": 3, "prefix": "models/m/version-3"}',
        b'{"version": "3b", "prefix": "models/m/version-3"}',
        b'{"version": "3\\n", "prefix": "models/m/version-3"}',
        b'{"version": "3", "prefix": 3}',
        b'{"version": "3", "prefix": "models/other/version-3"}',
        b'{"version": "3", "prefix": "models/m/../other/version-3"}',
        b'{"version": "3", "prefix": "/etc"}',
    ],
)
def test_bad_pointers_are_refused(content):
    with pytest.raises(InputError, match="pointer models/m/serving.json"):
        ms.read_pointer("m", content)


def test_pointer_prefix_may_carry_a_suffix():
    content = json.dumps({"version": "12", "prefix": "models/m/version-12-ab12"}).encode()
    assert ms.read_pointer("m", content) == ("12", "models/m/version-12-ab12/12/model.onnx")


def test_folder_store(tmp_path):
    store = ms.FolderStore(tmp_path / "none")
    with pytest.raises(ServiceError, match="There is no folder none"):
        store.list_names()
    publish(tmp_path, "1", name="b")
    publish(tmp_path, "1", name="a")
    (tmp_path / "models" / "unfinished").mkdir()
    store = ms.FolderStore(tmp_path)
    assert store.list_names() == ["a", "b"]
    with pytest.raises(MissingStepError, match="models/c/serving.json"):
        store.read("models/c/serving.json")
    with pytest.raises(ServiceError):
        store.read("models")


@pytest.mark.parametrize(
    "content, part",
    [
        (b"not a model", "INVALID_PROTOBUF"),
        (make_onnx()[:-40], "does not load"),
        (make_onnx(input_type="DOUBLE"), "one FP32 input"),
        (make_onnx(inputs=2), "one FP32 input"),
    ],
)
def test_a_file_that_cannot_serve_is_refused(content, part):
    with pytest.raises(InputError, match=part):
        ms.load_model(NAME, "1", content)


class ConstantSession:
    "A session whose answer is fixed."

    def __init__(self, result):
        self.result = np.array([[result]], np.float32)

    def run(self, names, feed):
        return [self.result for _ in names]


def make_model(result=0.5):
    outputs = (ms.Tensor("fraud_probability", "FP32", (-1, 1)), ms.Tensor("is_fraud", "INT64", (-1, 1)))
    return ms.ServedModel(
        NAME, "3", ConstantSession(result), ms.Tensor("dense_input", "FP32", (-1, 7)), outputs
    )


@pytest.mark.parametrize("result", [float("nan"), float("inf")])
def test_a_result_that_is_no_number_is_never_sent(result):
    with pytest.raises(InputError, match="gives no number"):
        ms.answer_rest(make_model(result), json.dumps(make_body()).encode(), None)


def test_a_failed_load_does_not_touch_the_served_model(tmp_path):
    publish(tmp_path, "1")
    repository = ms.Repository(ms.FolderStore(tmp_path))
    repository.load(NAME)
    before = repository.models
    publish(tmp_path, "2", b"broken")
    with pytest.raises(InputError):
        repository.load(NAME)
    assert repository.models is before and repository.find(NAME).version == "1"


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "", ".hidden", "a b", "a\n"])
def test_names_that_could_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="not a model name"):
        ms.Repository(ms.FolderStore(tmp_path)).load(name)


# ---- properties of the reading of a request

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    where=st.sampled_from(["", "inputs", "outputs", "id", "parameters"]),
    field=st.sampled_from(["name", "shape", "datatype", "data", "parameters"]),
    value=json_values,
)
def test_any_json_is_answered_or_refused(where, field, value):
    body = make_body()
    if where:
        body[where] = value
    else:
        body["inputs"][0][field] = value
    with contextlib.suppress(InputError):
        ms.answer_rest(make_model(), json.dumps(body).encode(), None)


@settings(max_examples=150, deadline=None)
@given(body=st.binary(max_size=60), size=st.none() | st.text(max_size=4) | st.integers(-1, 70).map(str))
def test_any_bytes_are_answered_or_refused(body, size):
    with contextlib.suppress(InputError):
        ms.answer_rest(make_model(), body, size)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=7, max_size=7),
        min_size=1,
        max_size=5,
    )
)
def test_values_arrive_to_the_bit(rows):
    expected = np.array(rows, np.float32)
    shape = list(expected.shape)
    flat = make_body([value for row in rows for value in row], shape)
    head = make_body(shape=shape)
    del head["inputs"][0]["data"]
    head["inputs"][0]["parameters"] = {"binary_data_size": expected.nbytes}
    head = json.dumps(head).encode()
    forms = [
        (json.dumps(make_body(rows, shape)).encode(), None),
        (json.dumps(flat).encode(), None),
        (head + expected.tobytes(), str(len(head))),
    ]
    for body, size in forms:
        request = ms.read_rest_request(body, size, make_model())
        assert request.rows.dtype == np.float32 and request.rows.tobytes() == expected.tobytes()


# ---- what the server tells about itself


def test_server_and_model_pages(server):
    assert server.ask("/v2").json()["name"] == "kserve"
    assert server.ask("/v2/health/live").status_code == 200
    assert server.ask("/v2/health/ready").status_code == 200
    assert server.ask("/v2/models").json() == {"models": [NAME]}
    assert server.ask(f"/v2/models/{NAME}/ready").json() == {"name": NAME, "ready": True}
    assert server.ask("/v2/repository/index").json() == server.post("/v2/repository/index").json()
    assert server.ask("/v2/repository/index").json() == [
        {"name": NAME, "version": "3", "state": "READY", "reason": ""}
    ]


def test_metadata_comes_from_the_file(server):
    expected = {
        "name": NAME,
        "versions": ["3"],
        "platform": "onnx",
        "inputs": [{"name": "dense_input", "datatype": "FP32", "shape": [-1, 7]}],
        "outputs": [
            {"name": "fraud_probability", "datatype": "FP32", "shape": [-1, 1]},
            {"name": "is_fraud", "datatype": "INT64", "shape": [-1, 1]},
            {"name": "threshold", "datatype": "FP32", "shape": [-1, 1]},
        ],
    }
    assert server.ask(f"/v2/models/{NAME}").json() == expected
    assert server.ask(f"/v2/models/{NAME}/versions/3").json() == expected


@pytest.mark.parametrize("path", ["", "/ready", "/infer"])
@pytest.mark.parametrize("version, status", [("3", 200), ("4", 404), ("03", 404)])
def test_versions(server, path, version, status):
    path = f"/v2/models/{NAME}/versions/{version}{path}"
    answer = infer(server, make_body(), path) if path.endswith("infer") else server.ask(path)
    assert answer.status_code == status
    if status == 404:
        assert f"Served: {NAME} version 3" in answer.json()["error"]


@pytest.mark.parametrize("path", ["", "/ready", "/versions/3", "/versions/3/ready"])
def test_unknown_model(server, path):
    answer = server.ask(f"/v2/models/other{path}")
    assert answer.status_code == 404 and "no model 'other'" in answer.json()["error"]
    assert infer(server, make_body(), "/v2/models/other/infer").status_code == 404


def test_unknown_pages_have_the_same_form_of_error(server):
    for path, method, status in [
        ("/", "GET", 404),
        ("/v1/models", "GET", 404),
        ("/v2/nothing", "GET", 404),
        (f"/v2/models/{NAME}/infer", "GET", 405),
        (f"/v2/models/{NAME}", "DELETE", 405),
    ]:
        answer = server.ask(path, method)
        assert answer.status_code == status and list(answer.json()) == ["error"], path


def test_metrics_count_answers(server):
    def count():
        lines = server.ask("/metrics").text.splitlines()
        return sum(
            float(line.split()[-1]) for line in lines if line.startswith("request_predict_seconds_count")
        )

    before = count()
    infer(server, make_body())
    assert count() == before + 1


# ---- what it answers


def test_answer_is_what_the_model_computes(server, session):
    rows = np.random.default_rng(0).normal(0, 3, (200, 7)).astype(np.float32)
    answer = infer(server, make_body(rows.tolist(), [200, 7]))
    expected = session.run(None, {"dense_input": rows})
    columns = read_columns(answer)
    assert list(columns) == ["fraud_probability", "is_fraud", "threshold"]
    for got, want in zip(columns.values(), expected, strict=True):
        assert (got.astype(want.dtype) == want).all()  # to the bit
    assert answer.json()["model_name"] == NAME and answer.json()["model_version"] == "3"
    assert answer.headers["content-type"] == "application/json"


def test_flat_nested_and_whole_numbers_mean_the_same(server):
    flat = infer(server, make_body(ROW * 2, [2, 7])).json()["outputs"]
    nested = infer(server, make_body([ROW, [10, 2.5, 0.5, 1.0, 0.0, 0.0, 1.0]], [2, 7])).json()["outputs"]
    assert flat == nested


def test_id_is_echoed_or_made(server):
    assert infer(server, make_body(id="mine")).json()["id"] == "mine"
    made = {infer(server, make_body(id=None)).json()["id"], infer(server, make_body()).json()["id"]}
    assert len(made) == 2 and all(made)


def test_outputs_filter_keeps_the_order_asked_for(server):
    asked = [{"name": "threshold"}, {"name": "fraud_probability"}]
    assert list(read_columns(infer(server, make_body(outputs=asked)))) == ["threshold", "fraud_probability"]
    assert len(read_columns(infer(server, make_body(outputs=[])))) == 3


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/octet-stream", "application/json; charset=utf-8"]
)
def test_content_type_does_not_matter(server, kind):
    headers = {"Content-Type": kind} if kind else {}
    answer = server.post(f"/v2/models/{NAME}/infer", data=json.dumps(make_body()).encode(), headers=headers)
    assert answer.status_code == 200


def make_binary(rows, **more):
    head = {"inputs": [{"name": "dense_input", "shape": list(rows.shape), "datatype": "FP32"}], **more}
    head["inputs"][0]["parameters"] = {"binary_data_size": rows.nbytes}
    return head


def post_binary(server, head, tail, size=None):
    head = json.dumps(head).encode()
    headers = {"Inference-Header-Content-Length": str(len(head) if size is None else size)}
    return server.post(f"/v2/models/{NAME}/infer", data=head + tail, headers=headers)


def read_binary(answer):
    assert answer.status_code == 200, answer.text
    size = int(answer.headers["Inference-Header-Content-Length"])
    message, place, columns = json.loads(answer.content[:size]), size, {}
    for item in message["outputs"]:
        count = item["parameters"]["binary_data_size"]
        kind = {"FP32": "<f4", "INT64": "<i8"}[item["datatype"]]
        columns[item["name"]] = np.frombuffer(answer.content[place : place + count], kind).reshape(
            item["shape"]
        )
        place += count
    assert place == len(answer.content)
    return columns


@pytest.mark.parametrize("how", ["for all", "for each"])
def test_binary_both_ways(server, session, how):
    rows = np.random.default_rng(1).normal(0, 3, (100, 7)).astype(np.float32)
    names = ["fraud_probability", "is_fraud", "threshold"]
    each = {"outputs": [{"name": name, "parameters": {"binary_data": True}} for name in names]}
    more = {"parameters": {"binary_data_output": True}} if how == "for all" else each
    answer = post_binary(server, make_binary(rows, **more), rows.tobytes())
    assert answer.headers["content-type"] == "application/octet-stream"
    for got, want in zip(
        read_binary(answer).values(), session.run(names, {"dense_input": rows}), strict=True
    ):
        assert got.dtype == want.dtype and (got == want).all()


def test_binary_and_json_outputs_can_be_mixed(server):
    outputs = [{"name": "is_fraud"}, {"name": "threshold", "parameters": {"binary_data": True}}]
    answer = infer(server, make_body(outputs=outputs))
    size = int(answer.headers["Inference-Header-Content-Length"])
    first, second = json.loads(answer.content[:size])["outputs"]
    assert first["data"] in ([0], [1]) and second["parameters"] == {"binary_data_size": 4}
    assert struct.unpack("<f", answer.content[size:])[0] == np.float32(threshold_of("3"))


# ---- what it refuses

GOOD = make_body()["inputs"][0]


def change(**values):
    return {"inputs": [{**GOOD, **values}]}


def leave_out(name):
    return {"inputs": [{key: value for key, value in GOOD.items() if key != name}]}


BAD = {
    "six values": (change(data=ROW[:6]), "do not fit the shape"),
    "eight values": (change(data=[*ROW, 1]), "do not fit the shape"),
    "no values": (change(data=[]), "do not fit the shape"),
    "ragged": (change(data=[ROW, ROW[:6]], shape=[2, 7]), "do not fit the shape"),
    "nested too deep": (change(data=[[ROW]]), "do not fit the shape"),
    "list in a flat list": (change(data=[*ROW[:6], [1]]), "hold a list"),
    "data no list": (change(data=7), "do not fit the shape"),
    "data text": (change(data="1234567"), "do not fit the shape"),
    "data null": ({"inputs": [{**GOOD, "data": None}]}, "do not fit the shape"),
    "text": (change(data=["1.5", *ROW[1:]]), "hold text"),
    "true": (change(data=[True, *ROW[1:]]), "hold true or false"),
    "nested true": (change(data=[[True, *ROW[1:]]]), "hold true or false"),
    "null": (change(data=[None, *ROW[1:]]), "hold null"),
    "object": (change(data=[{}, *ROW[1:]]), "hold an object"),
    "over float32": (change(data=[1e39, *ROW[1:]]), "Value 0 is 1e\\+39"),
    "over float32, whole": (change(data=[*ROW[:6], 10**40]), "Value 6 is 1e\\+40"),
    "NaN literal": (change(data=[float("nan"), *ROW[1:]]), "not JSON"),
    "Infinity literal": (change(data=[float("inf"), *ROW[1:]]), "not JSON"),
    "1e400": (json.dumps(change()).replace("10.0", "1e400"), "not JSON"),
    "shape of five": (change(shape=[1, 5], data=ROW[:5]), "shape of dense_input cannot be \\[1, 5\\]"),
    "rank one": (change(shape=[7]), "shape of dense_input"),
    "rank three": (change(shape=[1, 1, 7]), "shape of dense_input"),
    "free shape": (change(shape=[-1, 7]), "shape of dense_input"),
    "batch 0": (change(shape=[0, 7], data=[]), "shape of dense_input"),
    "shape of text": (change(shape=["1", 7]), "shape of dense_input"),
    "shape of true": (change(shape=[True, 7]), "shape of dense_input"),
    "shape of floats": (change(shape=[1.0, 7]), "shape of dense_input"),
    "shape no list": (change(shape=7), "shape of dense_input"),
    "huge shape": (change(shape=[2**62, 7]), "do not fit the shape"),
    "FP64": (change(datatype="FP64"), "datatype of dense_input cannot be 'FP64'"),
    "INT64": (change(datatype="INT64"), "datatype"),
    "small letters": (change(datatype="fp32"), "datatype"),
    "datatype null": (change(datatype=None), "datatype"),
    "wrong name": (change(name="dense"), "'dense' is not an input"),
    "name no text": (change(name=["dense_input"]), "is not an input"),
    "no name": (leave_out("name"), "has no name"),
    "no shape": (leave_out("shape"), "has no shape"),
    "no datatype": (leave_out("datatype"), "has no datatype"),
    "no data": (leave_out("data"), "has no data"),
    "no inputs": ({}, "None as inputs"),
    "inputs empty": ({"inputs": []}, "has 0 inputs"),
    "inputs no list": ({"inputs": GOOD}, "as inputs"),
    "input no object": ({"inputs": [ROW]}, "The input is not a JSON object"),
    "input twice": ({"inputs": [GOOD, GOOD]}, "has 2 inputs"),
    "another protocol": ({"instances": [ROW]}, "None as inputs"),
    "unknown output": (make_body(outputs=[{"name": "score"}]), "'score' cannot be asked for"),
    "output twice": (make_body(outputs=[{"name": "threshold"}] * 2), "each once"),
    "output without name": (make_body(outputs=[{}]), "None cannot be asked for"),
    "outputs no list": (make_body(outputs="threshold"), "outputs is not a list"),
    "output no object": (make_body(outputs=["threshold"]), "not a JSON object"),
    "id no text": (make_body(id=7), "id cannot be 7"),
    "parameters no object": (make_body(parameters=[]), "parameters is not a JSON object"),
    "binary_data_output text": (
        make_body(parameters={"binary_data_output": "yes"}),
        "binary_data_output cannot",
    ),
    "binary_data number": (
        make_body(outputs=[{"name": "threshold", "parameters": {"binary_data": 1}}]),
        "binary_data cannot",
    ),
    "binary_data_size without bytes": (change(parameters={"binary_data_size": 28}), "raw bytes do not fit"),
    "empty body": ("", "not JSON"),
    "broken JSON": ('{"inputs": [', "not JSON"),
    "list": ("[]", "The body is not a JSON object"),
    "null body": ("null", "The body is not a JSON object"),
    "deep": ("[" * 100_000, "not JSON"),
    "no UTF-8": (b'{"id": "\xff"}', "not JSON"),
    "XML": ("<inputs/>", "not JSON"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_are_the_clients_mistake(server, case):
    body, part = BAD[case]
    body = body if isinstance(body, str | bytes) else json.dumps(body)
    answer = server.post(f"/v2/models/{NAME}/infer", data=body)
    assert answer.status_code == 400 and list(answer.json()) == ["error"], answer.text
    assert re.search(part, answer.json()["error"]), answer.json()["error"]
    assert answer.headers["content-type"] == "application/json"


TAIL = np.array([ROW], "<f4").tobytes()
BAD_BINARY = {
    "tail too short": (make_binary(np.zeros((1, 7), "f4")), TAIL[:-1], None, "27 follow"),
    "tail too long": (make_binary(np.zeros((1, 7), "f4")), TAIL + b"\0", None, "29 follow"),
    "size too small": (
        make_binary(np.zeros((1, 6), "f4")) | change(parameters={"binary_data_size": 24}),
        TAIL,
        None,
        "raw bytes",
    ),
    "size no number": (change(parameters={"binary_data_size": "28"}), TAIL, None, "raw bytes"),
    "size negative": (change(parameters={"binary_data_size": -28}), TAIL, None, "raw bytes"),
    "data and bytes": (change(parameters={"binary_data_size": 28}), TAIL, None, "raw bytes"),
    "bytes without size": (change(), TAIL, None, "raw bytes"),
    "header not a number": (
        make_binary(np.zeros((1, 7), "f4")),
        TAIL,
        "x",
        "Inference-Header-Content-Length",
    ),
    "header negative": (make_binary(np.zeros((1, 7), "f4")), TAIL, "-1", "Inference-Header-Content-Length"),
    "header too large": (
        make_binary(np.zeros((1, 7), "f4")),
        TAIL,
        "9999",
        "Inference-Header-Content-Length",
    ),
    "header huge": (make_binary(np.zeros((1, 7), "f4")), TAIL, "9" * 5000, "Inference-Header-Content-Length"),
    "header too small": (make_binary(np.zeros((1, 7), "f4")), TAIL, "20", "not JSON"),
    "NaN": (
        make_binary(np.zeros((1, 7), "f4")),
        struct.pack("<7f", *[0] * 6, float("nan")),
        None,
        "Value 6 is nan",
    ),
    "Inf": (
        make_binary(np.zeros((1, 7), "f4")),
        struct.pack("<7f", float("-inf"), *[0] * 6),
        None,
        "Value 0 is -inf",
    ),
}


@pytest.mark.parametrize("case", BAD_BINARY)
def test_bad_binary_requests_are_the_clients_mistake(server, case):
    head, tail, size, part = BAD_BINARY[case]
    answer = post_binary(server, head, tail, size)
    assert answer.status_code == 400 and part in answer.json()["error"], answer.text


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size, status", [(ms.MAX_BODY, 400), (ms.MAX_BODY + 1, 413), (2 * ms.MAX_BODY, 413)])
def test_body_limit(server, chunked, size, status):
    piece = b" " * 2**20
    pieces = (piece[: min(len(piece), size - place)] for place in range(0, size, len(piece)))
    answer = server.post(f"/v2/models/{NAME}/infer", data=pieces if chunked else b" " * size)
    assert answer.status_code == status and list(answer.json()) == ["error"]
    assert infer(server, make_body()).status_code == 200


def test_a_large_batch(server, session):
    rows = np.random.default_rng(2).normal(0, 3, (500_000, 7)).astype(np.float32)
    answer = post_binary(server, make_binary(rows, parameters={"binary_data_output": True}), rows.tobytes())
    expected = session.run(["fraud_probability"], {"dense_input": rows})[0]
    assert (read_binary(answer)["fraud_probability"] == expected).all()


# ---- gRPC


def make_message(
    contents=ROW, raw=None, shape=(1, 7), name="dense_input", datatype="FP32", model=NAME, **more
):
    from tritonclient.grpc import service_pb2

    message = service_pb2.ModelInferRequest(model_name=model, **more)
    item = message.inputs.add(name=name, datatype=datatype, shape=shape)
    if contents:
        item.contents.fp32_contents.extend(contents)
    message.raw_input_contents.extend(raw or [])
    return message


@pytest.fixture(scope="module")
def stub(server):
    import grpc
    from tritonclient.grpc import service_pb2_grpc

    with grpc.insecure_channel(server.grpc_url) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def test_grpc_binary(grpc_client, session):
    import tritonclient.grpc as triton

    rows = np.random.default_rng(3).normal(0, 3, (300, 7)).astype(np.float32)
    item = triton.InferInput("dense_input", [300, 7], "FP32")
    item.set_data_from_numpy(rows)
    answer = grpc_client.infer(NAME, [item], request_id="mine", model_version="3")
    for name, want in zip(
        ["fraud_probability", "is_fraud", "threshold"], session.run(None, {"dense_input": rows}), strict=True
    ):
        got = answer.as_numpy(name)
        assert got.dtype == want.dtype and (got == want).all()
    head = answer.get_response()
    assert (head.model_name, head.model_version, head.id) == (NAME, "3", "mine")
    chosen = grpc_client.infer(NAME, [item], outputs=[triton.InferRequestedOutput("is_fraud")])
    assert [output.name for output in chosen.get_response().outputs] == ["is_fraud"]
    assert chosen.get_response().id


def test_grpc_lists_are_answered_with_lists(stub, session):
    answer = stub.ModelInfer(make_message())
    expected = session.run(None, {"dense_input": np.array([ROW], np.float32)})
    probability, is_fraud, threshold = answer.outputs
    assert not answer.raw_output_contents
    assert probability.contents.fp32_contents[0] == expected[0][0, 0]
    assert is_fraud.contents.int64_contents[0] == expected[1][0, 0]
    assert list(threshold.shape) == [1, 1] and threshold.datatype == "FP32"


def test_grpc_metadata(grpc_client):
    assert grpc_client.is_server_live() and grpc_client.is_server_ready()
    assert grpc_client.is_model_ready(NAME) and grpc_client.is_model_ready(NAME, "3")
    metadata = grpc_client.get_model_metadata(NAME, "3", as_json=True)
    assert metadata["versions"] == ["3"] and metadata["platform"] == "onnx"
    assert metadata["inputs"] == [{"name": "dense_input", "datatype": "FP32", "shape": ["-1", "7"]}]
    assert grpc_client.get_server_metadata().name == "kserve"


NAN = struct.pack("<7f", *[0] * 6, float("nan"))
BAD_GRPC = {
    "unknown model": ({"model": "other"}, "NOT_FOUND", "no model 'other'"),
    "unknown version": ({"model_version": "9"}, "NOT_FOUND", "in version '9'"),
    "wrong name": ({"name": "dense"}, "INVALID_ARGUMENT", "is not an input"),
    "wrong datatype": ({"datatype": "FP64"}, "INVALID_ARGUMENT", "datatype"),
    "wrong shape": ({"shape": (1, 5)}, "INVALID_ARGUMENT", "shape of dense_input"),
    "free shape": ({"shape": (-1, 7)}, "INVALID_ARGUMENT", "shape of dense_input"),
    "batch 0": ({"shape": (0, 7), "contents": None}, "INVALID_ARGUMENT", "shape of dense_input"),
    "too few": ({"contents": ROW[:6]}, "INVALID_ARGUMENT", "do not fit"),
    "NaN": ({"contents": [float("nan"), *ROW[1:]]}, "INVALID_ARGUMENT", "Value 0 is nan"),
    "raw NaN": ({"contents": None, "raw": [NAN]}, "INVALID_ARGUMENT", "Value 6 is nan"),
    "raw too short": ({"contents": None, "raw": [TAIL[:-1]]}, "INVALID_ARGUMENT", "do not fit"),
    "raw one byte more": ({"contents": None, "raw": [TAIL + b"0"]}, "INVALID_ARGUMENT", "do not fit"),
    "raw twice": ({"contents": None, "raw": [TAIL, TAIL]}, "INVALID_ARGUMENT", "raw_input_contents"),
    "raw and list": ({"raw": [TAIL]}, "INVALID_ARGUMENT", "fp32_contents and raw_input_contents"),
    "no values": ({"contents": None}, "INVALID_ARGUMENT", "no field"),
}


@pytest.mark.parametrize("case", BAD_GRPC)
def test_bad_grpc_requests(stub, case):
    import grpc

    values, code, part = BAD_GRPC[case]
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(make_message(**values))
    assert caught.value.code().name == code and part in caught.value.details()


def test_more_bad_grpc_requests(stub):
    import grpc
    from tritonclient.grpc import service_pb2

    twice, no_input, other_field, unknown_output = (make_message() for _ in range(4))
    twice.inputs.append(twice.inputs[0])
    del no_input.inputs[:]
    other_field.inputs[0].contents.int64_contents.append(1)
    unknown_output.outputs.add(name="score")
    for message in (twice, no_input, other_field, unknown_output):
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(message)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    large = make_message(None, [bytes(ms.MAX_BODY)], (ms.MAX_BODY // 28, 7))
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(large)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelMetadata(service_pb2.ModelMetadataRequest(name="other"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


# ---- the process


def test_listens_on_loopback_only(server):
    connections = psutil.Process(server.process.pid).connections("inet")
    listening = {
        (c.laddr.ip.removeprefix("::ffff:"), c.laddr.port) for c in connections if c.status == "LISTEN"
    }
    assert listening == {("127.0.0.1", server.http), ("127.0.0.1", server.grpc)}


def test_requests_leave_no_lines_in_the_log(server, stub):
    before = server.log.read_text()
    for _ in range(20):
        infer(server, make_body())
        infer(server, {})
        server.ask("/v2/models/other")
        stub.ModelInfer(make_message())
        with contextlib.suppress(Exception):
            stub.ModelInfer(make_message(name="dense"))
    with socket.create_connection(("127.0.0.1", server.http)) as client:  # goes away in the middle of a body
        client.sendall(
            f"POST /v2/models/{NAME}/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{{".encode()
        )
    time.sleep(0.2)
    assert server.log.read_text() == before
    assert len(before.splitlines()) == 2, before  # one at the start, one for the model


@pytest.mark.parametrize("taken", ["http", "grpc"])
def test_a_taken_port_is_said(server, folder, taken):
    free = find_ports(1)[0]
    ports = {"http": (server.http, free), "grpc": (free, server.grpc)}[taken]
    run = subprocess.run(
        [BIN / "fraud-demo-model-server", "--model-dir", folder]
        + ["--http-port", str(ports[0]), "--grpc-port", str(ports[1])],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert f"cannot listen on 127.0.0.1 port {getattr(server, taken)}" in run.stderr


def hammer(server, is_over, answers):
    "Ask without a pause, over REST and gRPC, and keep what came."
    import tritonclient.grpc as triton

    item = triton.InferInput("dense_input", [1, 7], "FP32")
    item.set_data_from_numpy(np.array([ROW], np.float32))
    with requests.Session() as session, triton.InferenceServerClient(server.grpc_url) as client:
        while not is_over.is_set():
            answer = session.post(f"{server.url}/v2/models/{NAME}/infer", json=make_body(), timeout=10)
            answers.append((answer.json().get("model_version"), read_columns(answer)["threshold"][0, 0]))
            answer = client.infer(NAME, [item])
            answers.append((answer.get_response().model_version, answer.as_numpy("threshold")[0, 0]))


def test_life_of_a_server(tmp_path):
    "From an empty folder over swaps under load and faults to the end."
    import grpc

    root = tmp_path / "later"
    with Server(tmp_path / "log", "--model-dir", root) as server:
        # nothing there: it runs, and finds what comes later
        wait_until(lambda: server.is_ready("/v2/health/live"))
        answer = infer(server, make_body())
        assert answer.status_code == 404 and "none yet" in answer.json()["error"]
        assert server.post(f"/v2/repository/models/{NAME}/load").status_code == 404
        publish(root, "9", b"broken", name="broken")
        publish(root, "1")
        wait_until(server.is_ready, 10)
        assert "Version 9 of broken cannot be served" in server.log.read_text()

        # swaps while three threads ask
        answers, faults, is_over = [], [], threading.Event()

        def work():
            try:
                hammer(server, is_over, answers)
            except Exception as error:
                faults.append(error)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for version in ("2", "3", "4", "5", "4"):
            publish(root, version)
            answer = server.post(f"/v2/repository/models/{NAME}/load")
            assert answer.json() == {"name": NAME, "load": True, "version": version}
            assert infer(server, make_body()).json()["model_version"] == version
            time.sleep(0.1)

        # faults leave version 4 in place
        for status, part, version, content, pointer in [
            (400, "cannot be served", "6", b"broken", {}),
            (404, "version-7/7/model.onnx", "7", b"", {}),
            (400, "cannot be used", "8", None, {"prefix": "../elsewhere"}),
        ]:
            publish(root, version, content, **pointer)
            answer = server.post(f"/v2/repository/models/{NAME}/load")
            assert answer.status_code == status and part in answer.json()["error"]
            assert infer(server, make_body()).json()["model_version"] == "4"
        shutil.move(root, tmp_path / "away")
        assert server.post(f"/v2/repository/models/{NAME}/load").status_code == 404
        assert infer(server, make_body()).json()["model_version"] == "4"
        is_over.set()
        for thread in threads:
            thread.join(10)
        assert not faults and len(answers) > 100
        assert {version for version, _ in answers} >= {"2", "3", "4", "5"}
        assert all(np.float32(value) == np.float32(threshold_of(version)) for version, value in answers)
        assert server.post("/v2/repository/models/%2e%2e/load").status_code in (400, 404)

        # loading and unloading over gRPC and REST
        shutil.move(tmp_path / "away", root)
        publish(root, "5")
        with grpc.insecure_channel(
            server.grpc_url
        ) as channel:  # the SDK's messages differ from Triton's here
            message = bytes([10, len(NAME)]) + NAME.encode()
            service = "/inference.GRPCInferenceService/RepositoryModel"
            channel.unary_unary(f"{service}Unload")(message)
            assert infer(server, make_body()).status_code == 404
            channel.unary_unary(f"{service}Load")(message)
            assert infer(server, make_body()).json()["model_version"] == "5"
        assert server.post(f"/v2/repository/models/{NAME}/unload").status_code == 200
        assert server.post(f"/v2/repository/models/{NAME}/unload").status_code == 404
        assert server.ask("/v2/models").json() == {"models": []}
        assert server.post(f"/v2/repository/models/{NAME}/load").status_code == 200

        # the end: a request that is half sent is answered, an idle connection does not hold it up
        idle = requests.Session()
        idle.get(f"{server.url}/v2", timeout=5)
        body = json.dumps(make_body()).encode()
        head = f"POST /v2/models/{NAME}/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", server.http), timeout=10) as client:
            client.sendall(head + body[:10])
            time.sleep(0.2)
            started = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            client.sendall(body[10:])
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
        assert server.process.wait(10) == 0
        assert time.monotonic() - started < 5
        idle.close()
        log = server.log.read_text()
        assert log.splitlines()[-1].endswith("stopped") and "Traceback" not in log and "Deprecat" not in log


# ---- a real object store


class ObjectStore:
    "A SeaweedFS on free ports of the loopback address."

    def __init__(self, home):
        self.home, self.data = home, home / "objects"
        self.data.mkdir()
        (home / "s3.json").write_text(
            json.dumps(
                {
                    "identities": [
                        {
                            "name": "test",
                            "credentials": [{"accessKey": "test", "secretKey": "test-secret"}],
                            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
                        }
                    ]
                }
            )
        )
        ports = find_ports(8)
        names = ("master", "volume", "filer", "s3")
        self.url = f"http://127.0.0.1:{ports[3]}"
        self.command = [
            BIN / "weed",
            "-logtostderr=true",
            "mini",
            f"-dir={self.data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-s3.config={home / 's3.json'}",
            "-bucket=mlflow",
            "-webdav=false",
            "-admin.ui=false",
            "-master.telemetry=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            *(f"-{name}.port={port}" for name, port in zip(names, ports, strict=False)),
            *(f"-{name}.port.grpc={port}" for name, port in zip(names, ports[4:], strict=False)),
        ]
        self.process = None

    def start(self):
        with (self.home / "weed.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, cwd=self.home, start_new_session=True
            )

    def stop(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)

    def write_settings(self):
        values = {
            "AWS_S3_ENDPOINT": self.url,
            "AWS_S3_BUCKET": "mlflow",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test-secret",
        }
        (self.home / "object_store.json").write_text(json.dumps(values))

    def put(self, key, content):
        from fraud_demo.core import ObjectStore

        store = ObjectStore(self.url, "mlflow", "us-east-1", "test", "test-secret")
        open_bucket(store).put_object(Bucket="mlflow", Key=key, Body=content)

    def publish(self, version, content=None):
        key = f"models/{NAME}/version-{version}"
        self.put(f"{key}/{version}/model.onnx", content or make_onnx(threshold_of(version)))
        self.put(f"models/{NAME}/serving.json", json.dumps({"version": version, "prefix": key}).encode())


@pytest.mark.skipif(not (BIN / "weed").exists(), reason="SeaweedFS has no wheel for this platform")
def test_real_object_store(tmp_path, monkeypatch):
    for name in ("AWS_S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_S3_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    environ = {"FRAUD_DEMO_HOME": str(tmp_path), "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}
    store = ObjectStore(tmp_path)
    with Server(tmp_path / "log", **environ) as server:
        try:
            wait_until(lambda: server.is_ready("/v2/health/live"))  # no store, not even its address
            answer = server.post(f"/v2/repository/models/{NAME}/load")
            assert answer.status_code == 503 and "No object store is known" in answer.json()["error"]
            store.write_settings()  # its address, and nobody there
            answer = server.post(f"/v2/repository/models/{NAME}/load")
            assert answer.status_code == 503 and "EndpointConnectionError" in answer.json()["error"]
            store.start()

            def is_published():
                try:
                    return store.publish("1") or True
                except Exception:
                    return False

            wait_until(is_published, 30)
            wait_until(server.is_ready, 10)
            store.publish("2")
            assert server.post(f"/v2/repository/models/{NAME}/load").json()["version"] == "2"
            answer = server.post("/v2/repository/models/other/load")
            assert answer.status_code == 404 and "models/other/serving.json" in answer.json()["error"]
            store.stop()
            answer = server.post(f"/v2/repository/models/{NAME}/load")
            assert answer.status_code == 503, answer.text
            assert infer(server, make_body()).json()["model_version"] == "2"
        finally:
            store.stop()
        assert server.stop() == 0
        assert "test-secret" not in server.log.read_text() and "Traceback" not in server.log.read_text()


def test_a_store_that_hangs_does_not_hold_up_the_end(tmp_path):
    "A store that takes connections and never answers."
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environ = {
            "FRAUD_DEMO_HOME": str(tmp_path),
            "AWS_S3_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test-secret",
        }
        with Server(tmp_path / "log", **environ) as server:
            wait_until(lambda: server.is_ready("/v2/health/live"))
            loading = threading.Thread(
                target=lambda: contextlib.suppress(requests.RequestException).__enter__()
            )
            statuses = []
            loading = [threading.Thread(target=ask_for_load, args=(server, statuses)) for _ in range(4)]
            for thread in loading:
                thread.start()
            time.sleep(0.5)
            started = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - started < 8  # four loads one after the other would take 12
            assert "Traceback" not in server.log.read_text()
            for thread in loading:
                thread.join(10)
            assert statuses == [503] * 4


def ask_for_load(server, statuses):
    with contextlib.suppress(requests.RequestException):
        statuses.append(server.post(f"/v2/repository/models/{NAME}/load").status_code)
