"""The parts of lesson 10 that need no cluster: paths, patches, messages, tables; and probes of a double."""

from __future__ import annotations

import json
import socket
import ssl

import pytest

from fraud_demo import cluster as module
from fraud_demo.cluster import (
    HIDDEN,
    KEYS,
    PATH_NOTE,
    Project,
    compare_secret,
    decode_value,
    encode_value,
    list_places,
    make_connection,
    make_endpoint,
    make_external_secret,
    make_storage_config,
    probe_model,
    probe_places,
    read_path,
    read_version,
    write_yaml,
)
from fraud_demo.core import InputError, MissingStepError, ObjectStore
from fraud_demo.details.checkup import (
    Check,
    Checkup,
    read_claim,
    read_connection,
    read_deployment,
    read_readiness,
)
from fraud_demo.details.cluster_api import KINDS, describe_path, explain_refusal, locate_object, open_cluster
from fraud_demo.rollout import PREVIOUS, check_folders, make_patch, read_conditions, read_events, read_pod

from .v2_double import V2Double

STORE = ObjectStore("http://s3.example:7480", "mlflow-1", "us-east-1", "access-key-7", "secret-key-7")
PROJECT = Project()


def make_service(path=None, notes=None, **model):
    """Return an InferenceService in one of its spellings."""
    storage = {"storage": {"key": "k", "path": path}} if path else {}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "m", "namespace": "n", "annotations": notes or {}},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "onnx"}, **storage, **model}}},
    }


@pytest.fixture
def no_login(monkeypatch, tmp_path):
    """A machine on which nobody logged in to a cluster."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_path_names_what_it_was_made_from(kind):
    namespace = "" if kind == "Namespace" else "some-project"
    found = describe_path(locate_object(kind, namespace, "a.b-c"))
    assert found == {"plural": KINDS[kind][1], "namespace": namespace, "name": "a.b-c"}
    assert describe_path(locate_object(kind, namespace) + "?x=/y") == {**found, "name": ""}


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("models/credit-card-fraud/version-3", "3"),
        ("models/credit-card-fraud/version-12-0a1b2c3d/12/model.onnx", "12"),
        ("models/credit-card-fraud/version-3x", None),
        ("models/fraud", None),
        ("", None),
        (None, None),
    ],
)
def test_version_is_read_from_a_path(path, version):
    assert read_version(path) == version


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("s3.openshift-storage.svc", "443", "http://s3.openshift-storage.svc"),
        ("s3.openshift-storage.svc", "80", "http://s3.openshift-storage.svc"),
        ("rgw.example", "7480", "http://rgw.example:7480"),
        ("rgw.example", "", "http://rgw.example"),
    ],
)
def test_endpoint_of_the_store_is_plain_http(host, port, url):
    assert make_endpoint(host, port) == url


def test_connection_is_one_for_both_dashboards():
    secret = make_connection(PROJECT, STORE)
    assert secret["metadata"]["name"] == "credit-card-fraud-models"
    assert secret["metadata"]["labels"] == {
        "opendatahub.io/dashboard": "true",
        "opendatahub.io/managed": "true",
    }
    notes = secret["metadata"]["annotations"]
    assert notes["opendatahub.io/connection-type"] == notes["opendatahub.io/connection-type-protocol"] == "s3"
    assert {name: decode_value(value) for name, value in secret["data"].items()} == {
        "AWS_ACCESS_KEY_ID": "access-key-7",
        "AWS_SECRET_ACCESS_KEY": "secret-key-7",
        "AWS_S3_ENDPOINT": "http://s3.example:7480",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_S3_BUCKET": "mlflow-1",
    }


def test_storage_config_has_what_kserve_reads():
    secret = make_storage_config(PROJECT, STORE)
    entry = json.loads(decode_value(secret["data"]["credit-card-fraud-models"]))
    assert secret["metadata"]["name"] == "storage-config"
    assert entry["type"] == "s3" and entry["bucket"] == entry["default_bucket"] == "mlflow-1"
    assert entry["endpoint_url"] == "http://s3.example:7480"
    assert (entry["access_key_id"], entry["secret_access_key"]) == ("access-key-7", "secret-key-7")


def test_what_goes_into_git_holds_no_key():
    text = write_yaml(make_external_secret(PROJECT, STORE))
    for key in (STORE.access_key, STORE.secret_key):
        assert key not in text and encode_value(key) not in text
    template = make_external_secret(PROJECT, STORE)["spec"]["target"]["template"]
    assert set(template["data"]) == set(KEYS)
    assert template["data"]["AWS_SECRET_ACCESS_KEY"] == "{{ .AWS_SECRET_ACCESS_KEY }}"
    wanted = make_connection(PROJECT, STORE)["metadata"]
    assert template["metadata"] == {part: wanted[part] for part in ("labels", "annotations")}


def test_difference_of_two_secrets_names_keys_and_shows_none():
    wanted = make_connection(PROJECT, STORE)
    assert compare_secret(wanted, wanted) == ()
    other = json.loads(json.dumps(wanted))
    other["data"]["AWS_SECRET_ACCESS_KEY"] = encode_value("old-secret")
    other["data"]["AWS_S3_BUCKET"] = encode_value("old-bucket")
    del other["data"]["AWS_DEFAULT_REGION"], other["metadata"]["labels"]["opendatahub.io/dashboard"]
    found = compare_secret(other, wanted)
    assert set(found) == {
        "label opendatahub.io/dashboard",
        "AWS_SECRET_ACCESS_KEY: another value",
        "AWS_S3_BUCKET: from old-bucket to mlflow-1",
        "AWS_DEFAULT_REGION: new",
    }
    assert len(compare_secret(None, wanted)) == 10
    assert not any(key in " ".join(found) for key in ("old-secret", STORE.secret_key))


@pytest.mark.parametrize("value", [None, "", "not base64!", encode_value("é")[:-1], "/w=="])
def test_unreadable_value_is_no_value(value):
    assert decode_value(value) == ""


@pytest.mark.parametrize(
    ("service", "annotated", "specified"),
    [
        (make_service("models/m/version-2"), False, True),
        (make_service(None, {PATH_NOTE: "models/m/version-2"}), True, False),
        (make_service("models/m/version-2", {PATH_NOTE: "models/m/version-2"}), True, True),
        (make_service(None, {"opendatahub.io/connections": "c"}), True, False),
        (make_service(), False, True),
    ],
    ids=["2.x", "3.x before its copy", "3.x", "3.x without a path", "no path"],
)
def test_patch_keeps_to_the_spelling_of_the_object(service, annotated, specified):
    patch = make_patch(service, "models/m/version-3")
    notes = patch["metadata"]["annotations"]
    assert (PATH_NOTE in notes) == annotated and ("spec" in patch) == specified
    if specified:
        assert patch["spec"]["predictor"]["model"] == {"storage": {"path": "models/m/version-3"}}
    if annotated:
        assert notes[PATH_NOTE] == "models/m/version-3"
    assert notes.get(PREVIOUS) == read_path(service)
    assert {key: patch["metadata"][key] for key in ("name", "namespace")} == {"name": "m", "namespace": "n"}


def test_patch_to_the_same_path_does_not_forget_the_previous_one():
    assert PREVIOUS not in make_patch(make_service("models/m/version-2"), "models/m/version-2")["metadata"]["annotations"]  # fmt: skip


def test_folder_of_a_version_must_be_there_and_be_one():
    assert check_folders(PROJECT, "3", ["models/m/version-3"]) == "models/m/version-3"
    with pytest.raises(MissingStepError, match=r"Version 3 .* not published.*fraud-demo promote 3"):
        check_folders(PROJECT, "3", [])
    with pytest.raises(InputError, match="published twice"):
        check_folders(PROJECT, "3", ["models/m/version-3", "models/m/version-3-00000000"])


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "does not accept the request"),
        (401, "does not know you"),
        (403, "no right"),
        (404, "no such object"),
        (405, "does not accept the request"),
        (409, "Somebody else changed it"),
        (422, "does not accept the object"),
        (429, "too many requests"),
        (500, "failed on its own"),
        (503, "failed on its own"),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"message": null}', b'{"message": "because"}'])
def test_each_refusal_has_three_sentences(status, words, body):
    error = explain_refusal("PATCH", locate_object("InferenceService", "n", "m"), status, body)
    assert error.status == status and words in error.why
    assert error.what == f"The cluster refused to patch inferenceservices/m in n ({status})."
    assert error.fix.endswith(".") and "{" not in str(error)


@pytest.mark.parametrize("status", [400, 422, 500])
def test_refusal_of_a_secret_repeats_nothing(status):
    body = json.dumps({"message": 'Invalid value: "c2VjcmV0LWtleS03"'}).encode()
    error = explain_refusal("PATCH", locate_object("Secret", "n", "s"), status, body)
    assert "c2VjcmV0LWtleS03" not in f"{error} {error!r}"
    error = explain_refusal("PATCH", locate_object("InferenceService", "n", "s"), status, body)
    assert "c2VjcmV0LWtleS03" in error.why


def test_refusal_of_a_webhook_is_no_missing_right():
    body = b'{"message": "admission webhook \\"x\\" denied the request: no such connection"}'
    error = explain_refusal("PATCH", locate_object("InferenceService", "n", "m"), 403, body)
    assert "no such connection" in error.why and "can-i" not in error.fix


def test_places_name_each_address_once():
    inner = "http://credit-card-fraud-predictor.credit-card-fraud.svc.cluster.local"
    status = {"address": {"url": f"{inner}/"}, "url": "https://m.apps.example"}
    places = list_places(PROJECT, {"status": status}, "m.apps.example")
    assert places == [
        ("status.address.url", inner),
        ("status.url", "https://m.apps.example"),
        ("Service, port 8888", f"{inner}:8888"),
        ("Service, port 8443", f"{inner.replace('http', 'https')}:8443"),
        ("ModelMesh, port 8008", "http://modelmesh-serving.credit-card-fraud:8008"),
    ]
    assert len(list_places(PROJECT)) == 4


def test_probe_sees_a_model_that_answers(double):
    found = probe_model("here", double.url, "credit-card-fraud")
    assert (found.kind, found.version) == ("good", "1") and found.outcome.startswith("Version 1 answers in")
    assert [path for _, path, _ in double.seen][0].endswith("/ready")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([(401, "text/plain", b"Unauthorized")], "wants a token"),
        ([(503, "application/json", b'{"error": "loading"}')] * 3, "not ready"),
        ([(404, "text/html", b"<html>")], "no V2 model server"),
        ([(200, "text/html", b"<html>Log in")], "web page"),
    ],
)
def test_probe_says_why_an_address_is_not_good(double, script, words):
    double.script = list(script)
    found = probe_model("here", double.url, "credit-card-fraud")
    assert found.kind == "failed" and words in found.outcome and found.fix and found.version is None


def test_probe_is_not_content_with_a_model_that_is_only_ready(double):
    double.script = [0.0, 0.0, (500, "application/json", b'{"error": "no memory"}')]
    assert "no memory" in probe_model("here", double.url, "credit-card-fraud").outcome


def test_token_is_sent_over_tls_and_on_this_machine_only(monkeypatch, certificate, double):
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **k: real("127.0.0.1", *a, **k))
    port = double.url.rpartition(":")[2]
    assert probe_model("plain", f"http://model.example:{port}", "credit-card-fraud", "t0ken").kind == "good"
    assert not any("Authorization" in headers for _, _, headers in double.seen)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    secure = V2Double(context=context)
    secure.token = "t0ken"
    try:
        for token, kind in (("t0ken", "good"), ("other", "failed"), (None, "failed")):
            found = probe_model("tls", secure.url, "credit-card-fraud", token, str(certificate[0]))
            assert found.kind == kind and "t0ken" not in repr(found)
        assert "not trusted" in probe_model("tls", secure.url, "credit-card-fraud", "t0ken").outcome
    finally:
        secure.close()


def test_authority_of_the_inside_is_trusted_for_inner_names_only(monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr(module, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setattr(module, "ModelConnection", lambda address, token, ca, t: asked.setdefault(address.base_url, ca))  # fmt: skip
    (tmp_path / "service-ca.crt").write_text("certificate")
    for url in ("https://m.n.svc.cluster.local:8443", "https://m.apps.example"):
        with pytest.raises(AttributeError):
            probe_model("x", url, "m")
    assert asked == {
        "https://m.n.svc.cluster.local:8443": str(tmp_path / "service-ca.crt"),
        "https://m.apps.example": None,
    }


def test_slow_address_does_not_hold_up_the_others(double):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes the connection, and says nothing
        places = [("slow", f"http://127.0.0.1:{silent.getsockname()[1]}"), ("good", double.url)]
        found = probe_places(places, PROJECT, None, None, 0.5)
    assert [candidate.kind for candidate in found] == ["failed", "good"]
    assert "in time" in found[0].outcome


def test_trouble_is_read_from_conditions_pods_and_events():
    status = {
        "conditions": [
            {"type": "Ready", "status": "False", "message": "no pod"},
            {"type": "IngressReady", "status": "True"},
        ],
        "modelStatus": {"lastFailureInfo": {"message": "no file"}},
    }
    assert read_conditions({"status": status}) == ["Ready is False: no pod.", "Last failure: no file."]
    assert read_conditions({}) == []
    waiting = {"name": "c", "state": {"waiting": {"reason": "ErrImagePull", "message": "m" * 500}}}
    done = {"name": "i", "state": {"terminated": {"reason": "Completed"}}}
    pod = {
        "metadata": {"name": "p"},
        "status": {"containerStatuses": [waiting], "initContainerStatuses": [done]},
    }
    [line] = read_pod(pod)
    assert line.startswith("Container c of p: ErrImagePull mmm") and len(line) < 240
    events = [
        {
            "type": kind,
            "reason": str(number),
            "lastTimestamp": f"{9 - number}",
            "involvedObject": {"name": name},
        }
        for number, (kind, name) in enumerate(
            [("Warning", "m-predictor-1")] * 4
            + [("Normal", "m-predictor-1"), ("Warning", "other"), ("Warning", "m-app-1")]
        )
    ]
    assert [line[:7] for line in read_events(events, "m")] == ["Event 0", "Event 1", "Event 2"]


@pytest.mark.parametrize(
    ("read", "good", "bad"),
    [
        (read_claim, {"status": {"phase": "Bound"}}, [{}, {"status": {"phase": "Pending"}}]),
        (read_deployment, {"status": {"availableReplicas": 2}}, [{}, {"status": {"replicas": 1}}]),
        (
            read_readiness,
            {"status": {"conditions": [{"type": "Ready", "status": "True"}]}},
            [{}, {"status": {"conditions": [{"type": "Ready", "status": "False", "message": "why"}]}}],
        ),
    ],
)  # fmt: skip
def test_state_of_an_object_names_what_to_read(read, good, bad):
    place = {"metadata": {"name": "a", "namespace": "n"}}
    assert read({**place, **good})[1] == ""
    assert all("-n n" in read({**place, **thing})[1] for thing in bad)


def test_connection_that_lacks_a_key_is_named():
    secret = make_connection(PROJECT, STORE)
    assert read_connection(secret) == ("complete", "")
    secret["data"]["AWS_S3_BUCKET"] = ""
    del secret["data"][HIDDEN[1]]
    found, fix = read_connection(secret)
    assert found == "lacks AWS_SECRET_ACCESS_KEY, AWS_S3_BUCKET" and "cluster connect" in fix
    secret = make_connection(PROJECT, STORE)
    del secret["metadata"]["annotations"]["opendatahub.io/connection-type-protocol"]
    assert "OpenShift AI 3" in read_connection(secret)[0]


def test_checkup_is_good_when_all_is():
    checks = (Check("a", "there"), Check("b", "missing", "make it"))
    assert Checkup(checks[:1]).is_good and not Checkup(checks).is_good
    assert Checkup(checks).table.rows == (("a", "there", "ok"), ("b", "missing", "make it"))
    assert Checkup(checks).to_dict()["checks"][1] == {
        "name": "b", "found": "missing", "fix": "make it", "good": False}  # fmt: skip


def test_without_a_login_there_is_no_cluster(no_login, monkeypatch):
    with pytest.raises(MissingStepError, match="oc login"):
        open_cluster()
    (no_login / "config").write_text("clusters: [")
    monkeypatch.setenv("KUBECONFIG", str(no_login / "config"))
    with pytest.raises(MissingStepError, match="cannot be read"):
        open_cluster()


def test_login_that_trusts_anybody_is_refused(no_login, monkeypatch):
    login = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": True}}],
        "users": [{"name": "c", "user": {"token": "t0ken"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }  # fmt: skip
    (no_login / "config").write_text(json.dumps(login))
    monkeypatch.setenv("KUBECONFIG", str(no_login / "config"))
    with pytest.raises(InputError, match="insecure-skip-tls-verify") as caught:
        open_cluster()
    assert "t0ken" not in str(caught.value)
