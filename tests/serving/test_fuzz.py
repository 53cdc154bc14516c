"""Twenty thousand requests that nobody meant, over REST and gRPC: each is answered or refused, none breaks anything."""

from __future__ import annotations

import copy
import json

import grpc
import numpy as np
import psutil
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.server import NAME, ROW, infer, make_body, make_message, read_columns

BATCH = 100  # requests an example
EXAMPLES = 100  # for each of two roads: 20,000 requests in all
GOOD = make_body(
    id="fuzz", outputs=[{"name": "threshold", "parameters": {"binary_data": False}}], parameters={}
)
PLACES = [
    *((key,) for key in GOOD),
    ("inputs", 0),
    *(("inputs", 0, key) for key in (*GOOD["inputs"][0], "parameters")),
    *(("inputs", 0, "shape", place) for place in range(2)),
    *(("inputs", 0, "data", place) for place in range(7)),
    ("outputs", 0),
    *(("outputs", 0, key) for key in ("name", "parameters")),
    ("outputs", 0, "parameters", "binary_data"),
    ("parameters", "binary_data_output"),
    ("inputs", 0, "parameters", "binary_data_size"),
]  # fmt: skip
NAMES = ["dense_input", "fraud_probability", "threshold", "FP32", "FP64", "INT64", "BYTES", ""]
ODD = [
    None,
    True,
    [],
    {},
    [[]],
    0,
    -1,
    1,
    7,
    28,
    2**31,
    2**63,
    2**64,
    1e39,
    -1e-46,
    5e-324,
    10**400,
    "1",
    "\0",
    "\ud800",
]


def change(body, path, value, is_removed):
    """Set a value deep in a body, or remove it; what has no such place stays as it is."""
    *way, last = path
    try:
        for step in way:
            body = body[step]
        if is_removed:
            del body[last]
        else:
            body[last] = copy.deepcopy(value)
    except (KeyError, IndexError, TypeError, AttributeError):
        pass


def make_value(random):
    """Make a JSON value that is out of place."""
    if random.random() < 0.7:
        return random.choice([*NAMES, *ODD])
    if random.random() < 0.7:
        return random.choice(
            [random.uniform(-1, 1) * 10.0 ** random.randint(-50, 50), random.getrandbits(70)]
        )
    return [make_value(random) for _ in range(random.randint(0, 8))]


def make_rest_request(random):
    """Make a body and its headers: a changed good one, one cut or spoiled on the way, or bytes."""
    body, headers = copy.deepcopy(GOOD), {}
    for _ in range(random.randint(1, 3)):
        change(body, random.choice(PLACES), make_value(random), random.random() < 0.2)
    content = json.dumps(body).encode()
    kind = random.choice(["whole", "whole", "whole", "cut", "spoiled", "binary", "bytes"])
    if kind == "cut":
        content = content[: random.randint(0, len(content))]
    elif kind == "spoiled":
        place = random.randrange(len(content))
        content = content[:place] + random.randbytes(random.randint(1, 3)) + content[place + 1 :]
    elif kind == "binary":
        size = random.choice([len(content), 0, len(content) - 1, len(content) + 9, "x", "-1", "1e3"])
        headers["Inference-Header-Content-Length"] = str(size)
        content += np.array(ROW, "<f4").tobytes()[: random.randint(0, 28)]
    elif kind == "bytes":
        content = random.randbytes(random.randint(0, 40))
    return content, headers


def make_grpc_request(random):
    """Make the bytes of a message: of a changed good one, or bytes."""
    if random.random() < 0.1:
        return random.randbytes(random.randint(0, 60))

    def mostly(good, *odd):
        return good if random.random() < 0.7 else random.choice(odd)

    floats = [random.choice([0.0, 1.0, 1e38, -1e-46, *map(float, ("nan", "inf", "-inf"))]) for _ in ROW]
    raw = [random.randbytes(random.choice([26, 28, 28, 28, 30])) for _ in range(random.randint(1, 2))]
    shape = [random.choice([-1, 0, 1, 2, 7, 2**31, 2**62]) for _ in range(random.randint(0, 3))]
    message = make_message(
        contents=mostly(ROW, floats, floats[:6], []),
        raw=mostly([], raw),
        shape=mostly((1, 7), shape),
        name=mostly("dense_input", *NAMES),
        datatype=mostly("FP32", *NAMES),
        model_version=mostly("", "3", "4", "\x7f"),
    )
    for name in random.sample(NAMES, mostly(0, 1, 2)):
        message.outputs.add(name=name)
    return message.SerializeToString()


def check_numbers(numbers):
    """Refuse what an answer may not hold."""
    values = np.asarray(list(numbers), np.float64)
    assert np.isfinite(values).all() and ((values >= 0) & (values <= 1)).all()


def count_requests(server):
    """Return how many requests for a score the server has counted."""
    lines = server.ask("/metrics").text.splitlines()
    counts = (line for line in lines if line.startswith("model_server_requests_total{") and '"infer"' in line)
    return sum(float(line.rpartition(" ")[2]) for line in counts)


@pytest.fixture
def fuzzed(server):
    """The server, asked before and after what its memory is."""
    process = psutil.Process(server.process.pid)
    for rows in (1, 10_000):  # buffers of the usual sizes exist
        assert infer(server, make_body(ROW * rows, [rows, 7])).status_code == 200
    before = process.memory_info().rss
    asked = count_requests(server)
    yield server
    assert read_columns(infer(server, make_body()))
    assert count_requests(server) - asked >= BATCH * EXAMPLES
    assert process.memory_info().rss < before + 24 * 2**20
    assert "Traceback" not in server.log.read_text()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(random=st.randoms(use_true_random=True))
def test_rest(fuzzed, client, random):
    for content, headers in (make_rest_request(random) for _ in range(BATCH)):
        answer = client.post(
            f"{fuzzed.url}/v2/models/{NAME}/infer", data=content, headers=headers, timeout=10
        )
        assert answer.status_code in (200, 400), (answer.status_code, content, headers)
        if answer.status_code == 400:
            assert list(answer.json()) == ["error"] and answer.json()["error"]
        elif "Inference-Header-Content-Length" not in answer.headers:
            for output in answer.json()["outputs"]:
                check_numbers(output["data"])


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(random=st.randoms(use_true_random=True))
def test_grpc(fuzzed, ask_grpc, random):
    from tritonclient.grpc.service_pb2 import ModelInferResponse

    for content in (make_grpc_request(random) for _ in range(BATCH)):
        try:
            answer = ModelInferResponse.FromString(ask_grpc(content, timeout=10))
        except grpc.RpcError as error:
            assert error.code().name in ("INVALID_ARGUMENT", "NOT_FOUND"), (error, content)
            assert error.details()
        else:
            for output in answer.outputs:
                check_numbers([*output.contents.fp32_contents, *output.contents.int64_contents])


@pytest.fixture(scope="module")
def client():
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture(scope="module")
def ask_grpc(server):
    """Send bytes as a message, whatever they are."""
    with grpc.insecure_channel(server.grpc_url) as channel:
        yield channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
