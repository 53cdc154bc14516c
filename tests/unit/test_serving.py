"""Edges of fraud_demo.serving: addresses, faults, wires, files."""

import json
import socket
import ssl
import subprocess
import sys
import time
from concurrent import futures

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fraud_demo import serving
from fraud_demo.core import (
    FEATURE_NAMES,
    InputError,
    MissingStepError,
    ServiceError,
    Transaction,
    load_settings,
    make_transaction,
)
from fraud_demo.serving import (
    Answer,
    EndpointScorer,
    GrpcScorer,
    LocalScorer,
    RegistryScorer,
    make_scorer,
    make_scores,
    parse_endpoint,
)

from .v2_double import FRAUDULENT, LEGITIMATE, THRESHOLD, V2Double, make_rows, run_model

ROWS = make_rows(200)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(serving, "RETRY_WAITS_S", (0.01, 0.02))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- addresses


@pytest.mark.parametrize(
    "endpoint, base, name, version",
    [
        ("host:8080", "http://host:8080", "m", None),
        ("localhost:8080/", "http://localhost:8080", "m", None),
        ("https://host", "https://host", "m", None),
        ("https://host/", "https://host", "m", None),
        (" https://host/v2 ", "https://host", "m", None),
        ("https://host/v2/", "https://host", "m", None),
        ("https://host/v2/models/x", "https://host", "x", None),
        ("https://host/v2/models/x/infer", "https://host", "x", None),
        ("https://host/v2/models/x/ready", "https://host", "x", None),
        ("https://host/v2/models/x/infer/", "https://host", "x", None),
        ("https://host/v2/models/x/versions/3/infer", "https://host", "x", "3"),
        ("https://host/a/b/v2/models/x/infer", "https://host/a/b", "x", None),
        ("https://host/a/b/", "https://host/a/b", "m", None),
        ("http://[::1]:8080/v2/models/x", "http://[::1]:8080", "x", None),
        ("http://modelmesh-serving.ns:8008", "http://modelmesh-serving.ns:8008", "m", None),
    ],
)
def test_endpoint_forms(endpoint, base, name, version):
    address = parse_endpoint(endpoint, "m")
    assert (address.base_url, address.model_name, address.version) == (base, name, version)


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "  ",
        "grpc://host:9000",
        "ftp://host",
        "http://",
        "host:port",
        "http://me:pw@host",
        "http://h/?x=1",
        "a b",
    ],
)
def test_endpoint_refused(endpoint):
    with pytest.raises(InputError) as info:
        parse_endpoint(endpoint)
    assert "pw" not in str(info.value)


@given(st.text(max_size=40))
def test_endpoint_parsing_never_breaks(text):
    try:
        address = parse_endpoint(text)
    except InputError:
        return
    assert parse_endpoint(address.url) == address


# --- the wire


def test_one_row_by_json_and_names_from_metadata(double):
    double.metadata = double.describe()
    double.metadata["inputs"][0]["name"] = "other_name"
    scorer = EndpointScorer(double.url)
    decision = scorer.decide(Transaction(*FRAUDULENT))
    expected = run_model(np.array([FRAUDULENT], dtype=np.float32))["fraud_probability"][0, 0]
    assert decision.fraud_probability == expected and decision.is_fraud
    assert decision.model_version == "1" and decision.threshold == float(THRESHOLD)
    assert decision.seconds > 0
    assert "Inference-Header-Content-Length" not in double.seen[-1][2]
    scorer.decide(Transaction(*LEGITIMATE))
    assert [method for method, _, _ in double.seen] == ["GET", "POST", "POST"]  # metadata once


@pytest.mark.parametrize("is_binary", [None, False, True])
@pytest.mark.parametrize("rows", [1, 50, 51, 200])
def test_json_and_binary_agree_to_the_bit(double, local, is_binary, rows):
    scorer = EndpointScorer(double.url, is_binary=is_binary)
    scores = scorer.score(ROWS[:rows])
    expected = run_model(ROWS[:rows])
    assert (scores.fraud_probability == expected["fraud_probability"].ravel()).all()
    assert (scores.is_fraud == expected["is_fraud"].ravel().astype(bool)).all()
    was_binary = "Inference-Header-Content-Length" in double.seen[-1][2]
    assert was_binary == (rows > 50 if is_binary is None else is_binary)
    assert np.abs(scores.fraud_probability - local.score(ROWS[:rows]).fraud_probability).max() < 1e-6


def test_many_rows_go_in_pieces(double, monkeypatch):
    monkeypatch.setattr(serving, "ROWS_PER_REQUEST", 64)
    scores = EndpointScorer(double.url).score(ROWS)
    assert double.count() == 4 and len(scores) == 200
    assert (scores.fraud_probability == run_model(ROWS)["fraud_probability"].ravel()).all()


def test_bad_rows_are_refused_before_a_request(double):
    scorer = EndpointScorer(double.url)
    for bad in (np.nan, np.inf, -1.0, 1e39):
        rows = ROWS[:3].astype(np.float64)
        rows[2, 0] = bad
        with pytest.raises(InputError, match="Row 2: distance_from_home"):
            scorer.score(rows)
    assert not double.seen


def test_someone_elses_model_has_one_output():
    server = V2Double(name="other", outputs=("dense_3",))
    try:
        features = np.array([FRAUDULENT, LEGITIMATE], dtype=np.float32)
        scores = EndpointScorer(f"{server.url}/v2/models/other/infer").score(features)
        assert scores.threshold == 0.5
        assert scores.is_fraud.tolist() == (scores.fraud_probability >= 0.5).tolist()
        strict = EndpointScorer(server.url, "other", threshold=0.995).score(features)
        assert strict.threshold == 0.995 and not strict.is_fraud[1]
    finally:
        server.close()


def test_connection_is_kept(double):
    scorer = EndpointScorer(double.url)
    pool = scorer._connection._session.adapters["http://"].poolmanager
    for _ in range(5):
        scorer.decide(Transaction(*LEGITIMATE))
    (host,) = pool.pools.keys()
    assert pool.pools[host].num_connections == 1 and double.count() == 5


def test_many_threads_share_a_scorer(double):
    scorer = EndpointScorer(double.url)
    expected = run_model(ROWS)["fraud_probability"].ravel()
    with futures.ThreadPoolExecutor(16) as pool:
        results = pool.map(lambda i: scorer.score(ROWS[i : i + 1]).fraud_probability[0], range(200))
        assert (np.array(list(results)) == expected).all()


# --- faults


def caught(action, *args):
    with pytest.raises(ServiceError) as info:
        action(*args)
    error = info.value
    assert all((error.what, error.why, error.fix)) and "None" not in str(error)
    return str(error)


def test_refused():
    text = caught(EndpointScorer(f"127.0.0.1:{free_port()}").score, ROWS[:1])
    assert "connection was refused" in text and "fraud-demo up" in text


def test_name_does_not_resolve(monkeypatch):
    def fail(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    started = time.perf_counter()
    assert "does not resolve" in caught(EndpointScorer("http://nowhere.example").score, ROWS[:1])
    assert time.perf_counter() - started < 2


def test_slow_answer_is_asked_once(double):
    double.script = [0, 1.0]
    text = caught(EndpointScorer(double.url, timeout_s=0.2).score, ROWS[:1])
    assert "did not answer in time" in text and "timeout_s" in text
    assert double.count() == 1


def test_connect_timeout(monkeypatch):
    def slow(*args, **kwargs):
        raise TimeoutError("timed out")

    monkeypatch.setattr("urllib3.util.connection.create_connection", slow)
    assert "take the connection in time" in caught(EndpointScorer("http://10.0.0.1").score, ROWS[:1])


PAGE = ("text/html", b"<!DOCTYPE html><html><body>Log in</body></html>")
BUSY = (503, "application/json", b'{"error": "model is not loaded"}')


@pytest.mark.parametrize(
    "fault, words",
    [
        ((400, "application/json", b'{"error": "Invalid input shape"}'), ("Invalid input shape", "metadata")),
        ((412, "application/json", b'{"error": "JSON_INVALID"}'), ("JSON_INVALID", "does not accept")),
        ((422, "application/json", b'{"detail": [{"msg": "no id"}]}'), ("no id", "does not accept")),
        ((401, "text/plain", b"Unauthorized"), ("token", "FRAUD_DEMO_TOKEN")),
        ((403, "text/html", b"<html>Log in</html>"), ("wants a token", "FRAUD_DEMO_TOKEN")),
        ((404, "application/json", b'{"error": "unknown model"}'), ("unknown model", "run lesson 05 first")),
        ((404, "application/json", b'{"detail": "Not Found"}'), ("no V2 model server", "INFERENCE_ENDPOINT")),
        ((404, *PAGE), ("no V2 model server", "INFERENCE_ENDPOINT")),
        ((413, "application/json", b'{"error": "too large"}'), ("too large", "fewer rows")),
        ((418, "text/plain", b"teapot"), ("teapot", "does not accept")),
        ((429, "text/plain", b""), ("too many requests", "Wait")),
        ((500, "text/plain", b"Traceback: boom"), ("boom", "not the client's fault")),
        ((501, "application/json", b'{"error": "no versions"}'), ("no versions", "not the client's fault")),
        ((302, "text/html", b"", {"Location": "https://elsewhere/"}), ("another address", "https://")),
        ((200, *PAGE), ("web page", "INFERENCE_ENDPOINT")),
        ((200, "text/plain", b"hello"), ("cannot be read", "V2")),
        ((200, "application/json", b""), ("cannot be read", "V2")),
        ((200, "application/json", b"[1, 2]"), ("cannot be read", "V2")),
        ((200, "application/json", b'{"outputs": []}'), ("no probabilities", "none")),
        ((200, "application/json", b'{"outputs": [{"name": "x"}]}'), ("cannot be read", "V2")),
        ((200, "application/json", b"[" * 100_000), ("cannot be read", "V2")),
    ],
)
def test_faulty_answers(double, fault, words):
    scorer = EndpointScorer(double.url)
    assert scorer.metadata.outputs[0].name == "fraud_probability"
    double.script = [fault]
    text = caught(scorer.score, ROWS[:1])
    for word in words:
        assert word in text
    assert scorer.score(ROWS[:1]).model_version == "1"  # the fault leaves no trace


def output(data, shape=(1, 1), datatype="FP32", name="fraud_probability"):
    body = {"outputs": [{"name": name, "datatype": datatype, "shape": list(shape), "data": data}]}
    return (200, "application/json", json.dumps(body).encode())


@pytest.mark.parametrize(
    "fault, word",
    [
        (output([float("nan")]), "not between 0 and 1"),
        (output([None]), "not between 0 and 1"),
        (output([1.5]), "not between 0 and 1"),
        (output([-0.1]), "not between 0 and 1"),
        (output([1], datatype="INT64"), "not between 0 and 1"),
        (output([0.5, 0.5], (1, 2)), "wrong shape"),
        (output([0.5, 0.5], (2, 1)), "wrong shape"),
        (output([0.5], ()), "wrong shape"),
        (output([0.5, 0.5], (1, 1)), "cannot be read"),
        (output(["high"]), "cannot be read"),
        (output([0.5], datatype="STRING"), "cannot be read"),
        (output([0.5], shape=("one",)), "cannot be read"),
    ],
)
def test_answers_that_cannot_be_right(double, fault, word):
    scorer = EndpointScorer(double.url)
    assert scorer.metadata
    double.script = [fault]
    assert word in caught(scorer.score, ROWS[:1])


@pytest.mark.parametrize("header, tail", [("999", b""), ("x", b""), ("-1", b""), (None, b"\0\0")])
def test_binary_answers_that_cannot_be_right(header, tail):
    head = b'{"outputs": [{"name": "p", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}]}'
    with pytest.raises(ServiceError, match="cannot be read"):
        serving.decode_answer(head + tail, header or str(len(head)))


@pytest.mark.parametrize(
    "change, word",
    [
        ({"inputs": []}, "not for these transactions"),
        ({"inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 3, 224, 224]}]}, "image FP32"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 8]}]}, "not for these transactions"),
        ({"inputs": [{"name": "x", "datatype": "BYTES", "shape": [-1, 7]}]}, "not for these transactions"),
        ({"inputs": None}, "cannot be read"),
        ({"outputs": [{}]}, "cannot be read"),
    ],
)
def test_metadata_of_another_model(double, change, word):
    double.metadata = {**double.describe(), **change}
    assert word in caught(EndpointScorer(double.url).score, ROWS[:1])
    assert double.count() == 0


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b'"text"', b"not json"])
def test_metadata_that_is_none(double, body):
    double.script = [(200, "application/json", body)]
    assert "cannot be read" in caught(EndpointScorer(double.url).score, ROWS[:1])


def test_metadata_as_kserve_and_mlserver_give_it(double):
    double.metadata = {**double.describe(), "versions": None, "platform": ""}
    assert EndpointScorer(double.url).metadata.versions == ()


def test_modelmesh_proxy_has_no_metadata(double):
    double.script = [(404, "application/json", b'{"code": 5, "message": "Not Found", "details": []}')]
    scores = EndpointScorer(double.url).score(ROWS)
    assert len(scores) == 200 and "Inference-Header-Content-Length" not in double.seen[-1][2]


def test_retry_on_busy_and_broken(double):
    scorer = EndpointScorer(double.url)
    assert scorer.metadata
    double.script = [BUSY, "close"]
    assert len(scorer.score(ROWS[:2])) == 2 and double.count() == 3
    double.script = [BUSY, BUSY, BUSY]
    assert "lesson 05" in caught(scorer.score, ROWS[:2]) and double.count() == 6
    double.script = ["close", "close", "close"]
    assert "broke before" in caught(scorer.score, ROWS[:2]) and double.count() == 9


def test_no_retry_when_the_request_is_wrong(double):
    scorer = EndpointScorer(double.url)
    assert scorer.metadata
    for status in (400, 401, 404, 500):
        double.seen.clear()
        double.script = [(status, "application/json", b'{"error": "no"}')]
        caught(scorer.score, ROWS[:1])
        assert len(double.seen) == 1


def test_version_swap_between_pieces(double, monkeypatch):
    monkeypatch.setattr(serving, "ROWS_PER_REQUEST", 100)
    scorer, infer, versions = EndpointScorer(double.url), double.infer, []

    def swap(headers, body):
        double.version = versions.pop(0)
        return infer(headers, body)

    double.infer, versions[:] = swap, ["1", "2", "2", "2"]
    assert scorer.score(ROWS).model_version == "2"
    versions[:] = ["1", "2"] * 3
    assert "kept changing" in caught(scorer.score, ROWS)


def test_missing_ca_bundle(double):
    with pytest.raises(InputError, match="FRAUD_DEMO_CA_BUNDLE"):
        EndpointScorer(f"https://{double.url[7:]}", ca_bundle="/no/such.pem").score(ROWS[:1])


def test_plain_http_behind_https(double):
    assert "plain HTTP" in caught(EndpointScorer(double.url.replace("http:", "https:")).score, ROWS[:1])


def test_proxies_of_the_environment_are_not_for_this_machine(double, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert len(EndpointScorer(double.url).score(ROWS[:1])) == 1
    assert "proxy" in caught(EndpointScorer("http://elsewhere.example").score, ROWS[:1])


# --- token and TLS


def test_token_is_sent_and_never_shown(double, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    double.token = "s3cret"
    scorer = EndpointScorer(double.url, token="s3cret")
    assert len(scorer.score(ROWS)) == 200
    wrong = EndpointScorer(double.url, token="wr0ng")
    text = caught(wrong.score, ROWS[:1])
    assert "does not accept the token that was sent" in text and "FRAUD_DEMO_TOKEN" in text
    double.script = [(403, "application/json", b'{"error": "forbidden"}')]
    assert "you may not use this model" in caught(scorer.score, ROWS[:1])
    missing = caught(EndpointScorer(double.url).score, ROWS[:1])
    assert "wants a token, and none was sent" in missing and "FRAUD_DEMO_TOKEN" in missing
    assert "s3cret" not in repr(scorer) and "wr0ng" not in text + repr(wrong)


def test_tls_with_a_private_authority(certificate, monkeypatch, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = V2Double(context=context)
    try:
        text = caught(EndpointScorer(server.url).score, ROWS[:1])
        assert "not trusted" in text and "FRAUD_DEMO_CA_BUNDLE" in text
        import certifi

        monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())  # must not win over the setting
        assert len(EndpointScorer(server.url, ca_bundle=str(certificate[0])).score(ROWS[:1])) == 1
        server.token = "s3cret"
        environ = {
            "FRAUD_DEMO_HOME": str(tmp_path),
            "INFERENCE_ENDPOINT": server.url,
            "FRAUD_DEMO_CA_BUNDLE": str(certificate[0]),
            "FRAUD_DEMO_TOKEN": "s3cret",
        }
        assert len(make_scorer(load_settings(environ)).score(ROWS[:1])) == 1
        for missing, words in (
            ("FRAUD_DEMO_CA_BUNDLE", "not trusted"),
            ("FRAUD_DEMO_TOKEN", "none was sent"),
        ):
            rest = {name: value for name, value in environ.items() if name != missing}
            assert words in caught(make_scorer(load_settings(rest)).score, ROWS[:1])
    finally:
        server.close()


# --- scores


def test_decision_belongs_to_its_row():
    scores = make_scores(Answer({"p": np.array([0.1, 0.7], dtype=np.float32)}, "9"), 2, "x", threshold=0.7)
    assert scores.is_fraud.tolist() == [False, True]  # compared in float32, as the model does
    assert scores.get_decision(1).is_fraud and scores.get_decision(1).model_version == "9"
    assert "2 scored, 1 fraud" in str(scores)


# --- in the process


def test_local_scorer(local, onnx_path):
    scores = local.score(ROWS)
    expected = run_model(ROWS)["fraud_probability"].ravel()
    assert np.abs(scores.fraud_probability - expected).max() < 1e-6
    assert scores.threshold == float(THRESHOLD) and scores.model_version == "1"
    assert (scores.is_fraud == (scores.fraud_probability >= THRESHOLD)).all()
    many = LocalScorer(onnx_path, threads=0).score(np.tile(ROWS, (600, 1)))
    assert len(many) == 120_000
    assert (many.fraud_probability[:200] == scores.fraud_probability).all()


def test_local_scorer_takes_a_frame_by_name(local):
    import pandas as pd

    frame = pd.DataFrame(ROWS, columns=FEATURE_NAMES)
    shuffled = frame[sorted(FEATURE_NAMES)]
    assert (local.score(shuffled).fraud_probability == local.score(ROWS).fraud_probability).all()


def test_local_scorer_without_a_model(tmp_path):
    with pytest.raises(MissingStepError, match="lessons 04 and 05"):
        LocalScorer(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_bytes(b"this is no model")
    with pytest.raises(InputError, match="cannot be read"):
        LocalScorer(tmp_path / "model.onnx")


def test_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingStepError, match=r"fraud-demo\[local\]"):
        LocalScorer("model.onnx")


def test_import_is_light():
    heavy = (
        "tensorflow mlflow gradio ipywidgets pandas pyarrow onnxruntime tritonclient nbdev fastcore IPython"
    )
    code = (
        "import sys, fraud_demo.serving\n"
        f"found = [name for name in {heavy.split()} if name in sys.modules]\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# --- gRPC


def make_grpc_service():
    import grpc
    from tritonclient.grpc import service_pb2 as pb
    from tritonclient.grpc import service_pb2_grpc

    class Service(service_pb2_grpc.GRPCInferenceServiceServicer):
        def ModelMetadata(self, request, context):
            if request.name != "credit-card-fraud":
                context.abort(grpc.StatusCode.NOT_FOUND, "unknown model")
            if ("authorization", "Bearer t0ken") not in context.invocation_metadata():
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")
            tensor = pb.ModelMetadataResponse.TensorMetadata
            outputs = [
                tensor(name=n, datatype=d, shape=[-1, 1])
                for n, d in (("fraud_probability", "FP32"), ("is_fraud", "INT64"), ("threshold", "FP32"))
            ]
            inputs = [tensor(name="dense_input", datatype="FP32", shape=[-1, 7])]
            return pb.ModelMetadataResponse(name=request.name, versions=["3"], inputs=inputs, outputs=outputs)

        def ModelInfer(self, request, context):
            values = run_model(np.frombuffer(request.raw_input_contents[0], "<f4").reshape(-1, 7))
            response = pb.ModelInferResponse(model_name=request.model_name, model_version="3")
            for name, value in values.items():
                datatype = "INT64" if name == "is_fraud" else "FP32"
                response.outputs.add(name=name, datatype=datatype, shape=list(value.shape))
                response.raw_output_contents.append(value.tobytes())
            return response

    return Service()


@pytest.fixture
def grpc_target():
    import grpc
    from tritonclient.grpc import service_pb2_grpc

    server = grpc.server(futures.ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(make_grpc_service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def test_grpc(grpc_target):
    scores = GrpcScorer(f"grpc://{grpc_target}", token="t0ken").score(ROWS)
    assert (scores.fraud_probability == run_model(ROWS)["fraud_probability"].ravel()).all()
    assert scores.model_version == "3" and scores.threshold == float(THRESHOLD)
    assert "does not accept the token" in caught(GrpcScorer(grpc_target, token="wrong").score, ROWS[:1])
    assert "wants a token, and none was sent" in caught(GrpcScorer(grpc_target).score, ROWS[:1])
    assert "lesson 05" in caught(GrpcScorer(grpc_target, "other", token="t0ken").score, ROWS[:1])
    text = caught(GrpcScorer(f"127.0.0.1:{free_port()}", timeout_s=2.0).score, ROWS[:1])
    assert "Nothing answers there" in text


def test_grpc_with_tls(certificate):
    import grpc
    from tritonclient.grpc import service_pb2_grpc

    server = grpc.server(futures.ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(make_grpc_service(), server)
    cert, key = (path.read_bytes() for path in certificate)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, cert)]))
    server.start()
    try:
        scorer = GrpcScorer(f"grpcs://127.0.0.1:{port}", token="t0ken", ca_bundle=str(certificate[0]))
        assert len(scorer.score(ROWS)) == 200
        text = caught(GrpcScorer(f"grpcs://127.0.0.1:{port}", timeout_s=2.0).score, ROWS[:1])
        assert "Nothing answers there" in text and "grpcs" in text
        with pytest.raises(InputError, match="FRAUD_DEMO_CA_BUNDLE"):
            GrpcScorer(f"grpcs://127.0.0.1:{port}", ca_bundle="/no/such.pem")
    finally:
        server.stop(None)


# --- the registry

PYFUNC = """
import mlflow, numpy as np
class Model(mlflow.pyfunc.PythonModel):
    _skip_type_hint_validation = True
    def predict(self, context, model_input, params=None):
        import pandas as pd
        values = np.asarray(model_input, dtype=np.float32)
        p = (values[:, 2:3] / (1 + values[:, 2:3])).astype(np.float32)
        if NAMED:
            columns = {"fraud_probability": p[:, 0], "is_fraud": (p[:, 0] >= 0.25).astype(int)}
            return pd.DataFrame({**columns, "threshold": np.float32(0.25)})
        return p
mlflow.models.set_model(Model())
"""


@pytest.fixture(scope="module")
def registry_uri(tmp_path_factory):
    import mlflow

    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.create_registered_model("fraud-model")
    client.create_registered_model("empty-model")
    for number, named in enumerate((True, False), 1):
        script = folder / f"model_{number}.py"
        script.write_text(PYFUNC.replace("NAMED", str(named)))
        saved = folder / f"saved_{number}"
        mlflow.pyfunc.save_model(saved, python_model=str(script), pip_requirements=["numpy"])
        client.create_model_version("fraud-model", str(saved))
    return uri


def test_registry_scorer(registry_uri):
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=registry_uri, registry_uri=registry_uri)
    newest = RegistryScorer(registry_uri, "fraud-model").score(ROWS)
    assert newest.model_version == "2" and newest.threshold == 0.5  # no alias yet, and an array back
    client.set_registered_model_alias("fraud-model", "champion", 1)
    champion = RegistryScorer(registry_uri, "fraud-model").score(ROWS)
    assert champion.model_version == "1" and champion.threshold == 0.25
    assert (champion.is_fraud == (champion.fraud_probability >= 0.25)).all()
    assert (champion.fraud_probability == newest.fraud_probability).all()
    assert RegistryScorer(registry_uri, "fraud-model", "2").score(ROWS).model_version == "2"


def test_registry_without_the_model(registry_uri):
    with pytest.raises((MissingStepError, ServiceError), match="lesson"):
        RegistryScorer(registry_uri, "no-model").score(ROWS)
    with pytest.raises(MissingStepError, match="lessons 04 and 05"):
        RegistryScorer(registry_uri, "empty-model").score(ROWS)
    assert "MLflow did not give" in caught(RegistryScorer(registry_uri, "fraud-model", "99").score, ROWS)


# --- choosing


def test_make_scorer_follows_the_environment(tmp_path, monkeypatch):
    environ = {"FRAUD_DEMO_HOME": str(tmp_path)}
    with pytest.raises(MissingStepError, match="fraud-demo up"):
        make_scorer(load_settings(environ))
    stack = {"services": {"model_server": "http://127.0.0.1:9001"}}
    (tmp_path / "stack.json").write_text(json.dumps(stack))
    scorer = make_scorer(load_settings({**environ, "FRAUD_DEMO_SEAT": "07"}))
    assert scorer.address.url == "http://127.0.0.1:9001/v2/models/credit-card-fraud-07"
    scorer = make_scorer(load_settings({**environ, "INFERENCE_ENDPOINT": "host:1/v2/models/x/infer"}))
    assert scorer.address.url == "http://host:1/v2/models/x"
    both = {**environ, "INFERENCE_ENDPOINT": "host:1", "MLFLOW_ROUTE": "http://mlflow.example"}
    assert isinstance(make_scorer(load_settings(both)), EndpointScorer)
    mlflow_only = {**environ, "MLFLOW_TRACKING_URI": "http://mlflow.example"}
    assert isinstance(make_scorer(load_settings(mlflow_only), kind="endpoint"), EndpointScorer)
    with pytest.raises(InputError, match="There is no scorer 'rest'"):
        make_scorer(load_settings(mlflow_only), kind="rest")


def test_make_scorer_for_grpc(tmp_path):
    environ = {"FRAUD_DEMO_HOME": str(tmp_path)}
    for rest_only in ({}, {"INFERENCE_ENDPOINT": "https://host.example"}):
        with pytest.raises(MissingStepError, match="No gRPC address is known"):
            make_scorer(load_settings({**environ, **rest_only}), "grpc")
    named = {**environ, "INFERENCE_ENDPOINT": "grpcs://host.example:443"}
    for kind in (None, "grpc"):
        scorer = make_scorer(load_settings(named), kind)
        assert isinstance(scorer, GrpcScorer) and scorer.target == "host.example:443"
    (tmp_path / "stack.json").write_text(json.dumps({"services": {"model_server_grpc": "127.0.0.1:9002"}}))
    scorer = make_scorer(load_settings({**environ, "FRAUD_DEMO_SEAT": "07"}), "grpc")
    assert (scorer.target, scorer.model_name) == ("127.0.0.1:9002", "credit-card-fraud-07")


def test_make_scorer_from_the_registry(tmp_path, monkeypatch):
    discovery = pytest.importorskip("fraud_demo.discovery")

    class Route:
        url = "http://mlflow.example:5000"

    monkeypatch.setattr(discovery, "connect_mlflow", lambda settings: Route)
    monkeypatch.setattr(serving, "connect_mlflow", lambda settings: Route, raising=False)
    environ = {
        "FRAUD_DEMO_HOME": str(tmp_path),
        "MLFLOW_ROUTE": "mlflow.example:5000",
        "FRAUD_DEMO_SEAT": "07",
    }
    scorer = make_scorer(load_settings(environ))
    assert isinstance(scorer, RegistryScorer)
    assert (scorer.tracking_uri, scorer.name) == (Route.url, "DNN-credit-card-fraud-07")


@hypothesis_settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(*[st.floats(0, 2.0**100, width=32)] * 3, *[st.integers(0, 1)] * 4), min_size=1, max_size=60
    )
)
def test_any_row_survives_both_wires(double, rows):
    features = np.array(rows, dtype=np.float32)
    asked = [EndpointScorer(double.url, is_binary=flag).score(features) for flag in (False, True)]
    assert (asked[0].fraud_probability == asked[1].fraud_probability).all()


def test_dictionary_is_enough(local):
    values = dict(zip(FEATURE_NAMES, FRAUDULENT, strict=True))
    by_name, built = local.decide(values), local.decide(make_transaction(values))
    assert by_name.fraud_probability == built.fraud_probability
    with pytest.raises(InputError, match="used_chip"):
        local.decide({**values, "used_chip": 3})


PAIR = {
    "fraud_probability": ("FP32", [0.9, 0.1]),
    "is_fraud": ("INT64", [1, 0]),
    "threshold": ("FP32", [0.3, 0.3]),
}


def answer_pair(**changes):
    """An answer about two rows, with some outputs changed; None leaves one out."""
    outputs = {name: value for name, value in (PAIR | changes).items() if value}
    body = {
        "outputs": [
            {"name": name, "datatype": kind, "shape": [2, 1], "data": data}
            for name, (kind, data) in outputs.items()
        ]
    }
    return (200, "application/json", json.dumps(body).encode())


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"is_fraud": ("FP32", [None, None])}, "cannot be right"),
        ({"is_fraud": ("BOOL", ["false", "false"])}, "cannot be read"),
        ({"is_fraud": ("INT64", [7, -3])}, "cannot be right"),
        ({"is_fraud": ("INT64", [0.9, 0.9])}, "cannot be read"),
        ({"is_fraud": ("INT64", [0, 1])}, "cannot be right"),
        ({"threshold": ("FP32", [None, None])}, "cannot be right"),
        ({"threshold": ("FP32", [5, 5])}, "cannot be right"),
        ({"threshold": ("FP32", [0.3, 0.8])}, "cannot be right"),
        ({"threshold": ("FP32", [-1, -1])}, "cannot be right"),
        ({"fraud_probability": ("FP32", ["0.9", "0.1"])}, "cannot be read"),
        ({"fraud_probability": ("FP32", [True, False])}, "cannot be read"),
    ],
)
def test_a_decision_that_is_none_is_refused(double, changes, word):
    scorer = EndpointScorer(double.url)
    assert scorer.metadata
    double.script = [answer_pair(**changes)]
    assert word in caught(scorer.score, ROWS[:2])


@pytest.mark.parametrize("changes", [{}, {"is_fraud": None}, {"threshold": None}, {"is_fraud": ("BOOL", [True, False])},
                                     {"is_fraud": ("FP32", [1.0, 0.0])}, {"threshold": ("FP32", [1.0, 1.0]), "is_fraud": ("INT8", [0, 0])}])  # fmt: skip
def test_decisions_in_other_forms_are_taken(double, changes):
    scorer = EndpointScorer(double.url)
    assert scorer.metadata
    double.script = [answer_pair(**changes)]
    assert scorer.score(ROWS[:2]).fraud_probability.tolist() == np.float32([0.9, 0.1]).tolist()


def test_answers_that_say_a_thing_twice_or_too_much_are_refused(double):
    scorer = EndpointScorer(double.url)
    assert scorer.metadata
    tensor = {"name": "fraud_probability", "datatype": "FP32", "shape": [1, 1], "data": [0.5]}
    raw = {
        "name": "fraud_probability",
        "datatype": "FP32",
        "shape": [1, 1],
        "parameters": {"binary_data_size": 4},
    }
    four = np.float32([0.5]).tobytes()
    for message, tail in (
        ({"outputs": [tensor, {**tensor, "data": [0.6]}]}, b""),
        ({"outputs": [{**tensor, "shape": [-1, 1]}]}, b""),
        ({"outputs": [{**tensor, "name": 1}]}, b""),
        ({"outputs": [tensor], "model_version": [1]}, b""),
        ({"outputs": [{**raw, "parameters": {"binary_data_size": -4}}]}, four),
        ({"outputs": [raw]}, four + b"12345678"),
    ):
        head = json.dumps(message).encode()
        double.script = [
            (
                200,
                "application/octet-stream",
                head + tail,
                {"Inference-Header-Content-Length": str(len(head))},
            )
        ]
        assert "cannot be read" in caught(scorer.score, ROWS[:1]), message


@pytest.mark.parametrize("shape", [[1e999, 7], "x", [[7]]])
def test_metadata_without_sense_is_refused(double, shape):
    double.metadata = {**double.describe(), "inputs": [{"name": "x", "datatype": "FP32", "shape": shape}]}
    assert "cannot be read" in caught(EndpointScorer(double.url).score, ROWS[:1])


def test_metadata_without_an_end_is_refused(double):
    double.script = [(200, "application/json", b"[" * 100_000)]
    assert "cannot be read" in caught(EndpointScorer(double.url).score, ROWS[:1])


@pytest.mark.parametrize("token", ["SECRET\nx", "SECRET token", "SECRET\u201d"])
def test_a_token_that_cannot_be_sent_is_not_shown(token):
    for make in (
        lambda: EndpointScorer("http://127.0.0.1:9", token=token),
        lambda: GrpcScorer("127.0.0.1:9", token=token),
    ):
        with pytest.raises(InputError, match="token cannot be sent") as told:
            make()
        assert "SECRET" not in str(told.value)


@pytest.mark.parametrize(
    "target", ["grpc://user:hunter2@127.0.0.1:1", "https://127.0.0.1:1", "127.0.0.1:1/v2", "a b:1"]
)
def test_targets_of_grpc_that_are_none_are_refused(target):
    with pytest.raises(InputError, match="gRPC server") as told:
        GrpcScorer(target)
    assert "hunter2" not in str(told.value)


def test_hosts_that_no_name_can_have_are_explained():
    for host in ("a..b", "x" * 70):
        with pytest.raises(InputError, match="name that cannot exist"):
            EndpointScorer(f"http://{host}/").score(ROWS[:1])


def test_an_address_taken_apart_twice_stays_the_same():
    address = serving.parse_endpoint("http://127.0.0.1:1/v2/models/a%20b/versions/1%20c/infer")
    assert (address.model_name, address.version) == ("a b", "1 c")
    assert serving.parse_endpoint(address.url) == address
