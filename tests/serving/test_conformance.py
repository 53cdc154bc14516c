"""What the server answers, case by case: the protocol's own grammar, and every mistake that we could think of."""

import json
import re
import struct
import zlib

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fraud_demo import __version__
from fraud_demo.workshop import model_server as ms
from tests.serving.server import (
    NAME,
    ROW,
    infer,
    make_binary,
    make_body,
    make_message,
    post_binary,
    read_binary,
    read_columns,
    threshold_of,
)

READY = {"name": NAME, "ready": True}
SERVED = f"Served: {NAME} version 3."
METADATA = {
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
INDEX = [{"name": NAME, "version": "3", "state": "READY", "reason": ""}]
MODEL = f"/v2/models/{NAME}"

# method and path, status, and the whole answer or what its error says
PAGES = [
    ("GET /v2/health/live", 200, {"live": True}),
    ("GET /v2/health/ready", 200, {"ready": True}),
    ("GET /v2/models", 200, {"models": [NAME]}),
    (f"GET {MODEL}", 200, METADATA),
    (f"GET {MODEL}/versions/3", 200, METADATA),
    (f"GET {MODEL}/versions/4", 404, SERVED),
    (f"GET {MODEL}/versions/03", 404, SERVED),
    (f"GET {MODEL}/ready", 200, READY),
    (f"GET {MODEL}/versions/3/ready", 200, READY),
    (f"GET {MODEL}/versions/4/ready", 404, SERVED),
    (f"POST {MODEL}/versions/4/infer", 404, SERVED),
    ("GET /v2/models/other", 404, "no model 'other'"),
    ("GET /v2/models/other/ready", 404, "no model 'other'"),
    ("GET /v2/models/other/versions/3", 404, "no model 'other' in version '3'"),
    ("GET /v2/models/other/versions/3/ready", 404, "no model 'other' in version '3'"),
    ("POST /v2/models/other/infer", 404, "no model 'other'"),
    ("POST /v2/models/%F0%9F%92%A3/infer", 404, "no model"),
    ("GET /v2/repository/index", 200, INDEX),
    ("POST /v2/repository/index", 200, INDEX),
    ("POST /v2/repository/models/other/load", 404, "models/other/serving.json"),
    ("POST /v2/repository/models/other/unload", 404, "no model 'other'"),
    ("POST /v2/repository/models/a%20b/load", 400, "not a model name"),
    ("GET /", 404, "Not Found: GET /"),
    ("GET /v1/models", 404, "Not Found"),
    ("GET /v2/nothing", 404, "Not Found"),
    (f"GET {MODEL}/", 200, METADATA),  # 307, and the client goes on
    (f"GET {MODEL}/infer", 405, "Method Not Allowed"),
    (f"DELETE {MODEL}", 405, "Method Not Allowed"),
    ("POST /v2/health/live", 405, "Method Not Allowed"),
]


@pytest.mark.parametrize("request_line, status, expected", PAGES, ids=[page[0] for page in PAGES])
def test_pages(server, request_line, status, expected):
    method, path = request_line.split(" ")
    answer = server.ask(path, method)
    assert answer.status_code == status and answer.headers["content-type"] == "application/json"
    if status == 200:
        assert answer.json() == expected
    else:
        assert list(answer.json()) == ["error"] and expected in answer.json()["error"]


def test_the_server_names_itself_and_its_extensions(server):
    about = server.ask("/v2").json()
    assert about == {"name": "fraud-demo-model-server", "version": __version__,
                     "extensions": ["binary_tensor_data", "model_repository"]}  # fmt: skip


def read_metrics(server, name, **labels):
    """Sum the samples of a metric that have these labels."""
    families = text_string_to_metric_families(server.ask("/metrics").text)
    samples = (sample for family in families for sample in family.samples if sample.name == name)
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


def test_metrics(server, stub):
    version = {"model_name": NAME, "model_version": "3"}
    labels = {"operation": "infer", **version}
    names = {
        "REST, right": ("model_server_requests_total", {"protocol": "REST", "code": "200", **labels}),
        "REST, wrong": ("model_server_requests_total", {"protocol": "REST", "code": "400", **labels}),
        "gRPC, right": ("model_server_requests_total", {"protocol": "gRPC", "code": "OK", **labels}),
        "unknown model": ("model_server_requests_total", {"code": "404", "model_name": ""}),
        "time": ("model_server_request_seconds_count", {"operation": "infer"}),
        "scores": ("model_server_scores_count", version),
        "sum of scores": ("model_server_scores_sum", version),
    }

    def read():
        return {key: read_metrics(server, name, **labels) for key, (name, labels) in names.items()}

    before = read()
    scores = [read_columns(infer(server, make_body(ROW * 20, [20, 7])))["fraud_probability"] for _ in "12"]
    infer(server, {})
    infer(server, make_body(), "/v2/models/other/infer")
    scores.append(stub.ModelInfer(make_message()).outputs[0].contents.fp32_contents)
    grown = {key: value - before[key] for key, value in read().items()}
    assert grown.pop("sum of scores") == pytest.approx(sum(map(np.sum, scores)), rel=1e-5)
    assert grown == {"REST, right": 2, "REST, wrong": 1, "gRPC, right": 1, "unknown model": 1, "time": 5,
                     "scores": 41}  # fmt: skip
    assert read_metrics(server, "model_server_serving", **version) == 1
    assert read_metrics(server, "process_resident_memory_bytes") > 0


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


def test_id_is_echoed_or_made(server, stub):
    assert infer(server, make_body(id="mine")).json()["id"] == "mine"
    made = {infer(server, make_body(id=None)).json()["id"], infer(server, make_body()).json()["id"]}
    assert len(made) == 2 and all(made)
    assert stub.ModelInfer(make_message(id="mine")).id == "mine"
    assert stub.ModelInfer(make_message()).id


@pytest.mark.parametrize("given, is_kept", [("order-4711", True), ("with blanks", False), ("x" * 65, False)])
def test_a_request_id_goes_through(server, stub, given, is_kept):
    for body in (make_body(), {}):
        answer = infer(server, body, headers={"X-Request-ID": given})
        assert (answer.headers["X-Request-ID"] == given) is is_kept
        assert answer.status_code == 400 or answer.json()["id"] == answer.headers["X-Request-ID"]
    assert (stub.ModelInfer(make_message(), metadata=[("x-request-id", given)]).id == given) is is_kept


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
    answer = server.post(f"{MODEL}/infer", data=pieces if chunked else b" " * size)
    assert answer.status_code == status and list(answer.json()) == ["error"]
    assert ("The server reads 32 MiB" in answer.json()["error"]) is (status == 413)
    assert infer(server, make_body()).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_a_compressed_body_is_refused(server, encoding):
    body = zlib.compress(json.dumps(make_body()).encode(), wbits=31 if encoding == "gzip" else 15)
    answer = server.post(f"{MODEL}/infer", data=body, headers={"Content-Encoding": encoding})
    assert answer.status_code == 415 and f"A body in '{encoding}' is not read" in answer.json()["error"]


def test_a_large_batch(server, session):
    rows = np.random.default_rng(2).normal(0, 3, (500_000, 7)).astype(np.float32)
    answer = post_binary(server, make_binary(rows, parameters={"binary_data_output": True}), rows.tobytes())
    expected = session.run(["fraud_probability"], {"dense_input": rows})[0]
    assert (read_binary(answer)["fraud_probability"] == expected).all()


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
    assert grpc_client.get_server_metadata().name == "fraud-demo-model-server"


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
