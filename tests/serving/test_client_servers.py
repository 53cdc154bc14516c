"""One suite for the inference client, against three servers that serve the same trained file.

Ours is the local stack's. The second answers as OpenVINO Model Server does on the cluster, with OpenVINO as its
engine. The third is genuine Triton in an environment of its own: CI has it, elsewhere it is skipped where it cannot
be installed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import requests

from benchmarks.room import make_model
from benchmarks.serving import command_script, make_environment
from fraud_demo import serving
from fraud_demo.core import FEATURE_NAMES, InputError, ServiceError, Transaction
from fraud_demo.data import generate_transactions
from fraud_demo.serving import EndpointScorer, ModelMetadata, TensorSpec
from fraud_demo.training import GRAPH_OUTPUTS, PARITY_LIMIT, run_onnx
from tests.conftest import ROOT
from tests.serving.server import BIN, NAME, find_ports, publish, wait_until

SERVERS = ("fraud-demo", "OpenVINO Model Server", "Triton")
VERSIONS = {"fraud-demo": "3", "OpenVINO Model Server": "3", "Triton": "1"}  # PyTriton knows version 1 only
PLATFORMS = {"fraud-demo": "onnx", "OpenVINO Model Server": "OpenVINO", "Triton": "python"}
MANY = 10_000


class Served:
    """One of the servers, in processes of its own."""

    def __init__(self, kind: str, onnx_path: Path, folder: Path, hold: Path | None = None):
        self.kind, self.version, self.log = kind, VERSIONS[kind], folder / "server.log"
        port, grpc_port = find_ports(2)
        self.url = f"http://127.0.0.1:{port}"
        environ = {**os.environ, "FRAUD_DEMO_HOME": str(folder), "PYTRITON_NO_TELEMETRY": "1", "TMPDIR": str(folder), "PYTRITON_HOME": str(folder)}  # fmt: skip
        if kind == "fraud-demo":
            ports = ["--http-port", port, "--grpc-port", grpc_port]
            command = [BIN / "fraud-demo-model-server", *ports, "--model-dir", folder]
            if hold is None:
                publish(folder, self.version, onnx_path.read_bytes())
        elif kind == "Triton":
            command = command_script(
                "triton_onnx", "triton", SimpleNamespace(onnx_path=onnx_path), port, grpc_port
            )
        else:
            command = [
                sys.executable,
                "-m",
                "tests.serving.ovms_double",
                onnx_path,
                port,
                "--version",
                self.version,
            ]
            command += ["--hold", hold] if hold else []
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command], stdout=log, stderr=log, env=environ, cwd=ROOT
            )

    def is_ready(self) -> bool:
        """Tell whether the model answers."""
        assert self.process.poll() is None, self.log.read_text()
        return requests.get(f"{self.url}/v2/models/{NAME}/ready", timeout=5).status_code == 200

    def list_processes(self) -> list[psutil.Process]:
        """Return the process and those it started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [
                psutil.Process(self.process.pid),
                *psutil.Process(self.process.pid).children(recursive=True),
            ]
        return []

    def kill(self) -> None:
        """End all its processes at once."""
        for process in self.list_processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(20)

    @contextlib.contextmanager
    def frozen(self):
        """Let its processes stand still: connections are taken, and nobody answers."""
        processes = self.list_processes()
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()


def need_triton() -> None:
    """Make Triton's environment, or skip the test where that is not possible; in CI it has to be."""
    try:
        make_environment("triton")
    except ServiceError as error:
        reason = f"Triton cannot be installed here: {error}"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)


@pytest.fixture(scope="module")
def onnx_path(tmp_path_factory):
    """A file as lesson 04 writes it."""
    return make_model(tmp_path_factory.mktemp("small"))[1].onnx_path


@pytest.fixture(scope="module")
def rows():
    """Ten thousand transactions."""
    return generate_transactions(MANY, seed=1)[list(FEATURE_NAMES)].to_numpy(np.float32)


@pytest.fixture(scope="module")
def expected(onnx_path, rows):
    """What ONNX Runtime says about them: output name to values."""
    return run_onnx(onnx_path, rows)


@pytest.fixture(scope="module", params=SERVERS)
def served(request, onnx_path, tmp_path_factory):
    """Each server in turn, ready."""
    if request.param == "Triton":
        need_triton()
    server = Served(request.param, onnx_path, tmp_path_factory.mktemp("served"))
    try:
        wait_until(server.is_ready, 60)
        yield server
    finally:
        server.kill()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """Do not wait long between tries."""
    monkeypatch.setattr(serving, "RETRY_WAITS_S", (0.01, 0.02))


def catch(scorer, rows) -> ServiceError:
    """Return the error that a question must end in; it has three sentences."""
    with pytest.raises(ServiceError) as caught:
        scorer.score(rows)
    assert all((caught.value.what, caught.value.why, caught.value.fix))
    return caught.value


# ---- right answers


def test_who_is_there(served):
    assert requests.get(f"{served.url}/v2/health/live", timeout=5).status_code == 200
    assert requests.get(f"{served.url}/v2/health/ready", timeout=5).status_code == 200
    assert requests.get(f"{served.url}/v2", timeout=5).json()["version"]
    metadata = EndpointScorer(served.url).metadata
    assert (metadata.name, metadata.versions) == (NAME, (served.version,))
    assert metadata.platform == PLATFORMS[served.kind]
    assert metadata.inputs == (TensorSpec("dense_input", "FP32", (-1, 7)),)
    specs = {"fraud_probability": "FP32", "is_fraud": "INT64", "threshold": "FP32"}
    assert metadata.outputs == tuple(TensorSpec(name, kind, (-1, 1)) for name, kind in specs.items())
    assert tuple(specs) == tuple(GRAPH_OUTPUTS)


@pytest.mark.parametrize("is_binary", [None, False, True], ids=["as it likes", "JSON", "bytes"])
@pytest.mark.parametrize("count", [1, 2, 50, 51, 1_000, MANY])
def test_answers_are_those_of_the_file(served, rows, expected, count, is_binary):
    scores = EndpointScorer(served.url, is_binary=is_binary).score(rows[:count])
    np.testing.assert_allclose(
        scores.fraud_probability, expected["fraud_probability"][:count], rtol=0, atol=PARITY_LIMIT
    )
    assert (scores.is_fraud == expected["is_fraud"][:count].astype(bool)).all()
    assert scores.threshold == float(expected["threshold"][0])
    assert scores.model_version == served.version and scores.seconds > 0


def test_one_transaction(served, rows, expected):
    for row in (int(expected["is_fraud"].argmin()), int(expected["is_fraud"].argmax())):
        decision = EndpointScorer(served.url).decide(Transaction(*map(float, rows[row])))
        assert abs(decision.fraud_probability - expected["fraud_probability"][row]) <= PARITY_LIMIT
        assert decision.is_fraud == bool(expected["is_fraud"][row])


def test_many_rows_go_in_pieces(served, rows, monkeypatch):
    scorer = EndpointScorer(served.url)
    whole = scorer.score(rows)
    monkeypatch.setattr(serving, "ROWS_PER_REQUEST", 3_000)
    pieces = scorer.score(rows)
    assert len(pieces) == MANY and (pieces.is_fraud == whole.is_fraud).all()
    np.testing.assert_allclose(pieces.fraud_probability, whole.fraud_probability, rtol=0, atol=1e-6)


def test_the_threshold_of_the_model_holds_and_not_the_one_of_the_client(served, rows, expected):
    scores = EndpointScorer(served.url, threshold=0.999).score(rows)
    assert scores.threshold == float(expected["threshold"][0]) != 0.999
    assert (scores.is_fraud == (scores.fraud_probability >= np.float32(scores.threshold))).all()


@pytest.mark.parametrize("end", ["", "/infer", "/versions/{version}", "/versions/{version}/infer"])
def test_every_form_of_the_address(served, rows, expected, end):
    endpoint = f"{served.url}/v2/models/{NAME}{end.format(version=served.version)}"
    scores = EndpointScorer(endpoint).score(rows[:60])
    assert (scores.is_fraud == expected["is_fraud"][:60].astype(bool)).all()
    assert scores.model_version == served.version


# ---- the same words, whoever answers


def test_a_model_that_is_not_there(served, rows):
    error = catch(EndpointScorer(served.url, "other"), rows[:1])
    assert error.what.endswith("for the model other.")
    assert error.why.startswith("It does not know this model. It says:")
    assert error.fix == "Publish the champion: run lesson 05 first; or correct the model's name."


def test_a_version_that_is_not_there(served, rows):
    error = catch(EndpointScorer(f"{served.url}/v2/models/{NAME}/versions/99"), rows[:1])
    assert error.why.startswith("It does not know this model. It says:")
    assert error.fix == "Publish the champion: run lesson 05 first; or correct the model's name."


def change_input(scorer, **changes) -> EndpointScorer:
    """Let a scorer believe in another input than the model has."""
    spec = {"name": "dense_input", "datatype": "FP32", "shape": (-1, 7)} | changes
    metadata = scorer.metadata
    scorer._metadata = ModelMetadata(NAME, metadata.versions, "", (TensorSpec(**spec),), metadata.outputs)
    return scorer


@pytest.mark.parametrize("is_binary", [False, True], ids=["JSON", "bytes"])
@pytest.mark.parametrize("case", ["name", "datatype", "width"])
def test_a_request_that_the_model_does_not_accept(served, rows, case, is_binary):
    scorer = EndpointScorer(served.url, is_binary=is_binary)
    changes = {"name": {"name": "other_input"}, "datatype": {"datatype": "FP64"}, "width": {}}[case]
    with pytest.raises(ServiceError) as caught:
        change_input(scorer, **changes).infer(rows[:2, :5] if case == "width" else rows[:2])
    assert caught.value.what.endswith(f"answered 400 for the model {NAME}.")
    assert caught.value.why.startswith("It does not accept the request. It says:")
    assert caught.value.fix == "Compare the request with the model's metadata."
    assert len(EndpointScorer(served.url).score(rows[:2])) == 2


def test_a_bad_row_never_leaves(served, rows):
    bad = rows[:3].astype(np.float64)
    bad[2, 0] = np.nan
    with pytest.raises(InputError, match="Row 2: distance_from_home"):
        EndpointScorer(served.url).score(bad)


def test_a_server_that_does_not_answer_in_time(served, rows):
    scorer = EndpointScorer(served.url, timeout_s=0.5)
    assert len(scorer.score(rows[:2])) == 2
    with served.frozen():
        error = catch(scorer, rows[:2])
    assert error.why == "It took the question and did not answer in time."
    assert error.fix == "Ask again with a longer timeout_s, or look at the server's load and log."
    wait_until(served.is_ready)
    assert len(EndpointScorer(served.url).score(rows[:2])) == 2


# Triton takes no connections before its model is there
@pytest.mark.parametrize("kind", SERVERS[:2])
def test_a_server_that_is_not_ready_yet(kind, onnx_path, rows, tmp_path):
    """Ours has no model as long as none is published; the other one knows its model, and loads it."""
    hold = tmp_path / "hold"
    hold.touch()
    server = Served(kind, onnx_path, tmp_path, hold)
    whys = {
        "fraud-demo": "It does not know this model. It says:",
        "OpenVINO Model Server": "It is not ready; the model may not be loaded yet. It says:",
    }
    try:
        wait_until(lambda: requests.get(f"{server.url}/v2/health/live", timeout=5).status_code == 200)
        error = catch(EndpointScorer(server.url), rows[:1])
        assert error.why.startswith(whys[kind]) and "run lesson 05 first" in error.fix
        hold.unlink()
        if kind == "fraud-demo":
            publish(tmp_path, server.version, onnx_path.read_bytes())
        wait_until(server.is_ready)
        assert len(EndpointScorer(server.url).score(rows[:60])) == 60
    finally:
        server.kill()


ROW = {"name": "dense_input", "shape": [1, 7], "datatype": "FP32", "data": [1, 2, 3, 0, 1, 0, 1]}
BODIES = {  # what is sent to the double, and what OpenVINO Model Server's documentation and source say to it
    "no JSON": (b"{", 412, "The file is not valid json"),
    "NaN": (json.dumps({"inputs": [ROW | {"data": [float("nan")] * 7}]}), 412, "The file is not valid json"),
    "a list": (b"[]", 400, "Request body should be JSON object"),
    "no inputs": (b"{}", 400, "Invalid JSON structure, missing inputs"),
    "text in the data": (json.dumps({"inputs": [ROW | {"data": ["1"] * 7}]}), 400, "Could not parse input content. "),
    "two inputs": (json.dumps({"inputs": [ROW, ROW]}), 400, "Invalid number of inputs - Expected: 1; Actual: 2"),
    "another name": (json.dumps({"inputs": [ROW | {"name": "x"}]}), 400, "Missing input with specific name - "),
    "another type": (json.dumps({"inputs": [ROW | {"datatype": "FP64"}]}), 400, "Invalid input precision - Expected: FP32; Actual: FP64"),
    "another width": (json.dumps({"inputs": [ROW | {"shape": [1, 5]}]}), 400, "Invalid input shape - Expected: (-1,7); Actual: (1,5)"),
    "no row": (json.dumps({"inputs": [ROW | {"shape": [0, 7], "data": []}]}), 400, "Invalid input shape - "),
    "too few values": (json.dumps({"inputs": [ROW | {"data": [1]}]}), 400, "Invalid number of values in tensor proto container - Expected: 7 values; Actual: 1 values"),
}  # fmt: skip


def test_words_of_the_double(tmp_path, onnx_path, rows, expected):
    """It must say what the real server says, or the suite proves nothing about the cluster."""
    server = Served("OpenVINO Model Server", onnx_path, tmp_path)
    url = f"{server.url}/v2/models/{NAME}"
    try:
        wait_until(server.is_ready)
        for case, (body, status, words) in BODIES.items():
            answer = requests.post(f"{url}/infer", data=body, timeout=5)
            assert answer.status_code == status and answer.json()["error"].startswith(words), case
        for path, status in (
            ("/v2/models", 400),
            (f"{url[len(server.url) :]}/versions/x", 400),
            ("/v2/repository/index", 400),
        ):
            assert requests.get(server.url + path, timeout=5).json() == {"error": "Invalid request URL"}
            assert requests.get(server.url + path, timeout=5).status_code == status
        assert requests.post(url, data=b"", timeout=5).status_code == 406
        assert requests.get(f"{server.url}/v2", timeout=5).json()["name"] == "OpenVINO Model Server"
        nested = ROW | {"data": [[[value] for value in ROW["data"]]]}
        for more in ({}, {"id": "mine"}):
            flat, deep = (
                requests.post(f"{url}/infer", json={"inputs": [item], **more}, timeout=5).json()
                for item in (ROW, nested)
            )
            assert flat == deep and flat.get("id") == more.get("id") and flat["model_version"] == "3"
        asked = [
            {"name": output.name, "parameters": {"binary_data": True}}
            for output in EndpointScorer(server.url).metadata.outputs
        ]
        answer = requests.post(f"{url}/infer", json={"inputs": [ROW], "outputs": asked}, timeout=5)
        assert (
            len(answer.content) - int(answer.headers["Inference-Header-Content-Length"]) == 4
        )  # the last one alone
    finally:
        server.kill()


def test_words_of_a_server_that_is_not_ready(rows, tmp_path, onnx_path):
    """OpenVINO Model Server says 503 about itself, and 404 about a model that loads."""
    hold = tmp_path / "hold"
    hold.touch()
    server = Served("OpenVINO Model Server", onnx_path, tmp_path, hold)
    try:
        wait_until(lambda: requests.get(f"{server.url}/v2/health/live", timeout=5).status_code == 200)
        assert requests.get(f"{server.url}/v2/health/ready", timeout=5).status_code == 503
        answer = requests.get(f"{server.url}/v2/models/{NAME}", timeout=5)
        assert (answer.status_code, answer.json()) == (
            404,
            {"error": "Model with requested version is not loaded yet"},
        )
        error = catch(EndpointScorer(server.url), rows[:1])
        assert error.fix == "Wait until it is ready; if no champion was published, run lesson 05 first."
    finally:
        server.kill()


def test_a_server_that_is_gone(served, rows):
    """The last test of each server: what it kept open is closed, and nobody listens any more."""
    scorer = EndpointScorer(served.url)
    assert len(scorer.score(rows[:2])) == 2
    served.kill()
    error = catch(scorer, rows[:2])
    assert error.what == f"The model server at {served.url[7:]} gave no answer."
    assert error.why == "Nothing listens at this address: the connection was refused."
    assert error.fix == "Start the stack with `fraud-demo up`, or correct INFERENCE_ENDPOINT."
