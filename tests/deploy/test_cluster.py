"""The five commands against the stand-in, over TLS with a token; and what `kubectl` reads of their work."""

from __future__ import annotations

import base64
import json
import logging
import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest

from fraud_demo import rollout
from fraud_demo.cluster import (
    KEYS,
    PATH_NOTE,
    Project,
    connect_store,
    decode_value,
    encode_value,
    find_endpoint,
    probe_places,
    read_path,
    read_service,
)
from fraud_demo.core import FraudDemoError, MissingStepError, ObjectStore, ServiceError, Settings
from fraud_demo.details.checkup import check_cluster
from fraud_demo.details.cluster_api import ClusterError
from fraud_demo.discovery import RouteError
from fraud_demo.rollout import (
    PREVIOUS,
    move_service,
    point_service,
    print_move,
    rollback_service,
    wait_for_service,
)
from fraud_demo.workshop import cli
from fraud_demo.workshop.model_server import FolderStore
from fraud_demo.workshop.stand_in import Refusal, StandIn, make_object, make_tls
from tests.conftest import find_kubectl
from tests.deploy.manifests import render
from tests.unit.v2_double import save_onnx

PROJECT = Project()
OWN, MODEL = PROJECT.namespace, PROJECT.model
STORE = ObjectStore(
    "http://127.0.0.1:9", "mlflow-bucket", "us-east-1", "access-key-of-the-bucket", "secret/key+of-the-bucket"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Published versions 2 and 3; the folder of version 4 is empty."""
    root = tmp_path_factory.mktemp("published")
    for version in "23":
        inner = root / f"models/{MODEL}/version-{version}/{version}"
        inner.mkdir(parents=True)
        save_onnx(inner / "model.onnx")
    return root


@pytest.fixture(autouse=True)
def quick_names(monkeypatch):
    """Names of the inside do not resolve here, whatever the name server of this machine takes for it."""
    real = socket.getaddrinfo

    def resolve(host, *args, **options):
        if str(host).endswith(".cluster.local") or "modelmesh" in str(host):
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.fixture
def settings(tmp_path):
    """Settings whose object store is the bucket of the claim."""
    return Settings(home=tmp_path, object_store=STORE)


@pytest.fixture
def stand_in(settings, folder, monkeypatch, tmp_path):
    """A cluster on which version 2 serves, and a login to it in KUBECONFIG."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("FRAUD_DEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(
        rollout, "list_published", lambda s, p: [(v, f"models/{MODEL}/version-{v}") for v in "234"]
    )
    running = StandIn(settings, version="2", store=FolderStore(folder), start_s=0.3)
    monkeypatch.setenv("KUBECONFIG", str(running.write_login(tmp_path)))
    yield running
    running.stop()


@pytest.fixture
def cluster(stand_in):
    """A connection to it."""
    return stand_in.connect()


def list_secrets(stand_in) -> set[str]:
    """Return everything that must never be shown, as it is and in base64."""
    plain = {STORE.access_key, STORE.secret_key, stand_in.token, stand_in.model_token}
    return plain | {encode_value(value).rstrip("=") for value in plain}


@pytest.fixture
def command(stand_in, monkeypatch, capfd, caplog):
    """Run `fraud-demo cluster` and return (exit code, output, errors); none of them, nor the log, has a key."""
    caplog.set_level(logging.DEBUG)
    shown = []

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fraud-demo", "cluster", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        shown.append(f"{out}\n{err}\n{caplog.text}")
        for secret in list_secrets(stand_in):
            assert secret not in shown[-1]
        assert "Traceback" not in shown[-1]
        return ended.value.code or 0, out, err

    yield run
    assert shown, "no command was run"


def read_secret(stand_in, name=PROJECT.connection) -> dict[str, str]:
    """Return the values of a Secret."""
    data = stand_in.keeper.get("secrets", OWN, name)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def list_writes(stand_in) -> list[tuple[str, str]]:
    """Return the requests that could change something."""
    return [
        (method, path)
        for method, path in stand_in.api.seen
        if method != "GET" and not path.endswith("reviews") and "dryRun" not in path
    ]


# connect


def test_connect_makes_a_connection_and_says_when_nothing_is_to_do(stand_in, command):
    code, out, _ = command("connect")
    assert code == 0 and "Secret credit-card-fraud-models: created" in out
    assert read_secret(stand_in) == dict(
        zip(
            KEYS, (STORE.access_key, STORE.secret_key, STORE.endpoint, "us-east-1", STORE.bucket), strict=True
        )
    )
    written, count = list_writes(stand_in), stand_in.keeper.count
    assert len(written) == 1 and "fieldManager=fraud-demo" in written[0][1]
    code, out, _ = command("connect")
    assert code == 0 and "Secret credit-card-fraud-models: unchanged" in out
    assert list_writes(stand_in) == written and stand_in.keeper.count == count


def test_connect_completes_a_half_done_first_run_and_keeps_what_others_wrote(stand_in, command):
    half = make_object("Secret", PROJECT.connection, OWN, type="Opaque", data={"AWS_S3_BUCKET": encode_value("old")},
                       metadata={"labels": {"team": "fraud"}})  # fmt: skip
    stand_in.keeper.put(half, manager="somebody")
    code, out, _ = command("connect")
    assert code == 0 and "updated" in out and "AWS_S3_BUCKET: from old to mlflow-bucket" in out
    assert "AWS_SECRET_ACCESS_KEY: new" in out
    assert set(read_secret(stand_in)) == set(KEYS)
    labels = stand_in.keeper.get("secrets", OWN, PROJECT.connection)["metadata"]["labels"]
    assert labels["team"] == "fraud" and labels["opendatahub.io/dashboard"] == "true"


def test_connect_takes_over_a_changed_key(stand_in, command):
    command("connect")
    stand_in.keeper.patch("secrets", "mlflow", "mlflow-server",
                          {"data": {"AWS_SECRET_ACCESS_KEY": encode_value("turned-over")}}, {}, False)  # fmt: skip
    code, out, _ = command("connect")
    assert code == 0 and "AWS_SECRET_ACCESS_KEY: another value" in out and "turned-over" not in out
    assert read_secret(stand_in)["AWS_SECRET_ACCESS_KEY"] == "turned-over"


def test_connect_writes_storage_config_beside_other_entries(stand_in, command):
    stand_in.keeper.put(make_object("Secret", "storage-config", OWN, data={"other": encode_value("{}")}))
    code, out, _ = command("connect", "--storage-config", "--json")
    assert code == 0 and [change["action"] for change in json.loads(out)["changes"]] == ["created", "updated"]
    entries = read_secret(stand_in, "storage-config")
    assert entries["other"] == "{}"
    assert json.loads(entries[PROJECT.connection])["secret_access_key"] == STORE.secret_key


def test_connect_leaves_storage_config_to_the_controller_of_openshift_ai(stand_in, command):
    managed = {"labels": {"opendatahub.io/managed": "true"}}
    theirs = stand_in.keeper.put(make_object("Secret", "storage-config", OWN, metadata=managed, data={}))
    code, out, _ = command("connect", "--storage-config")
    assert code == 0 and "OpenShift AI writes it" in out
    assert stand_in.keeper.get("secrets", OWN, "storage-config") == theirs


def test_connect_dry_run_keeps_nothing(stand_in, command):
    code, out, _ = command("connect", "--dry-run", "--storage-config")
    assert code == 0 and "nothing was kept" in out and out.count("created") == 2
    assert not list_writes(stand_in)
    with pytest.raises(Refusal):
        stand_in.keeper.get("secrets", OWN, PROJECT.connection)


def test_connect_print_has_no_key_and_changes_nothing(stand_in, command):
    stand_in.forbid("get", "secrets", "mlflow")  # nobody has to see a key for it
    code, out, _ = command("connect", "--print")
    assert code == 0 and "kind: ExternalSecret" in out and "bucket" in out
    assert not list_writes(stand_in)


@pytest.mark.parametrize("verb", ["get", "patch", "create"])
def test_connect_without_a_right_leaves_nothing_half_there(stand_in, command, verb):
    stand_in.forbid(verb, "secrets", "mlflow" if verb == "get" else OWN)
    code, out, err = command("connect", "--storage-config")
    what, why, fix = err.strip().splitlines()
    assert code == 1 and out == "" and "(403)" in what
    assert 'User "developer" cannot' in why and "oc auth can-i" in fix
    assert not [key for key in stand_in.keeper.objects if key[2] in (PROJECT.connection, "storage-config")]


@pytest.mark.parametrize(
    ("plural", "change"),
    [
        ("secrets", None),
        ("configmaps", None),
        ("configmaps", {"data": {"BUCKET_NAME": None}}),
        ("secrets", {"data": {"AWS_SECRET_ACCESS_KEY": None}}),
    ],
)
def test_connect_waits_for_the_claim(stand_in, command, plural, change):
    place = (plural, "mlflow", "mlflow-server")
    if change:
        stand_in.keeper.patch(*place, change, {}, False)
    else:
        stand_in.keeper.remove(*place)
    code, _, err = command("connect")
    assert code == 1 and "has no bucket yet" in err and "oc get obc mlflow-server -n mlflow" in err
    assert not list_writes(stand_in)


def test_connect_without_the_project_says_so(stand_in, command):
    code, _, err = command("connect", "-n", "elsewhere")
    assert code == 1 and err.startswith("There is no project elsewhere.")


# the login, the network


def test_wrong_token_is_one_sentence(stand_in, command, monkeypatch, tmp_path):
    (tmp_path / "wrong").mkdir()
    monkeypatch.setenv("KUBECONFIG", str(stand_in.write_login(tmp_path / "wrong", token="wr0ng-token")))
    for arguments in (["connect"], ["serve", "--version", "3"], ["rollback"], ["endpoint"]):
        code, out, err = command(*arguments)
        assert (code, out) == (1, "") and "(401)" in err and "oc login" in err and "wr0ng-token" not in err
    code, out, _ = command("doctor", "--json")
    assert code == 1 and "does not know you" in json.loads(out)["checks"][-1]["found"]


def test_unknown_authority_is_one_sentence(stand_in, command, monkeypatch, tmp_path):
    stand_in.api.authority = make_tls()[1]
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("KUBECONFIG", str(stand_in.write_login(tmp_path / "other")))
    code, _, err = command("connect")
    assert code == 1 and "signed by an authority that this machine does not know" in err
    assert "--certificate-authority" in err and stand_in.api.seen == []


def test_cluster_that_is_down_is_one_sentence(stand_in, command):
    stand_in.api.stop()
    code, _, err = command("serve", "--version", "3")
    assert code == 1 and "gave no answer. Nothing listens on port" in " ".join(err.split())
    code, out, _ = command("doctor", "--json")
    assert code == 1 and [check["name"] for check in json.loads(out)["checks"]] == ["API"]


def test_slow_cluster_is_given_up_in_time(stand_in):
    stand_in.api.delay_s = 2.0
    with pytest.raises(ClusterError, match=r"no answer within 0\.3 seconds") as caught:
        connect_store(stand_in.connect(timeout_s=0.3))
    assert caught.value.status == 0
    stand_in.api.delay_s = 0.0


# serve and rollback


def test_serve_and_rollback_wait_for_the_endpoint_itself(stand_in, command, cluster, settings):
    command("connect")
    code, out, _ = command("serve", "--version", "3", "--timeout", "20")
    assert code == 0 and out.startswith("Version 3 answers at http://127.0.0.1:")
    assert find_endpoint(cluster, settings=settings).version == "3"
    service = stand_in.keeper.get("inferenceservices", OWN, MODEL)
    notes = service["metadata"]["annotations"]
    assert read_path(service) == notes[PATH_NOTE] == f"models/{MODEL}/version-3"
    assert notes[PREVIOUS] == f"models/{MODEL}/version-2"
    count = len(list_writes(stand_in))
    code, out, _ = command("serve", "--version", "3", "--timeout", "20")
    assert code == 0 and "it was pointed there before" in out and len(list_writes(stand_in)) == count
    assert stand_in.keeper.get("inferenceservices", OWN, MODEL)["metadata"]["annotations"] == notes
    code, out, _ = command("rollback", "--timeout", "20")
    assert code == 0 and out.startswith("Version 2 answers") and "it served before" in out
    assert find_endpoint(cluster, settings=settings).version == "2"


def test_serve_in_the_spelling_of_2x(stand_in, cluster, settings):
    service = stand_in.keeper.get("inferenceservices", OWN, MODEL)
    stand_in.keeper.remove("inferenceservices", OWN, MODEL)
    service["metadata"] = {"name": MODEL, "namespace": OWN}
    service["spec"]["predictor"]["model"]["storage"] = {
        "key": PROJECT.connection,
        "path": f"models/{MODEL}/version-2",
    }
    stand_in.keeper.put(service)
    assert point_service(cluster, "3", settings=settings, timeout_s=20).version == "3"
    notes = stand_in.keeper.get("inferenceservices", OWN, MODEL)["metadata"]["annotations"]
    assert notes == {PREVIOUS: f"models/{MODEL}/version-2"}


def test_serve_looks_into_the_bucket_of_the_connection_only(stand_in, cluster, settings, monkeypatch):
    connect_store(cluster)
    move = point_service(cluster, "3", settings=settings, timeout_s=0, is_dry_run=True)
    assert move.checked == "the file is in the bucket"
    with pytest.raises(MissingStepError, match="Version 9 of credit-card-fraud is not published"):
        point_service(cluster, "9", settings=settings)
    other = replace(settings, object_store=replace(STORE, bucket="another"))
    assert (
        "not the one of the connection"
        in point_service(cluster, "3", settings=other, is_dry_run=True).checked
    )
    bare = replace(settings, object_store=None)
    assert "no object store" in point_service(cluster, "3", settings=bare, is_dry_run=True).checked

    def fail(*_):
        raise ServiceError("a", "b", "c")

    monkeypatch.setattr(rollout, "list_published", fail)
    assert "does not answer" in point_service(cluster, "3", settings=settings, is_dry_run=True).checked
    stand_in.forbid("get", "secrets", OWN)
    assert (
        "could not be read (403)" in point_service(cluster, "3", settings=settings, is_dry_run=True).checked
    )


@pytest.mark.parametrize("version", ["three", "3;rm", "models/../x", "-1", ""])
def test_what_is_no_version_is_wrong_use(stand_in, cluster, settings, version):
    with pytest.raises(FraudDemoError, match="is no version"):
        point_service(cluster, version, settings=settings)
    assert not list_writes(stand_in)


def test_dry_run_and_print_change_nothing(stand_in, command):
    code, out, _ = command("serve", "--version", "3", "--dry-run")
    assert code == 0 and out.startswith("A dry run: Version 3 would serve from")
    code, out, _ = command("serve", "--version", "3", "--print")
    assert code == 0 and f"{PATH_NOTE}: models/{MODEL}/version-3" in out
    assert "resourceVersion" not in out and "spec:" not in out
    assert not list_writes(stand_in)
    assert read_path(stand_in.keeper.get("inferenceservices", OWN, MODEL)) == f"models/{MODEL}/version-2"


def test_rollback_without_a_move_names_the_way_out(stand_in, command):
    code, _, err = command("rollback")
    assert code == 1 and "no version to go back to" in err and "serve --version N" in err
    assert not list_writes(stand_in)


def test_version_whose_pod_does_not_start_is_explained(stand_in, command):
    stand_in.break_pods("ImagePullBackOff", "Back-off pulling image")
    code, out, err = command("serve", "--version", "3", "--timeout", "2")
    what, why, fix = err.strip().splitlines()
    assert (code, out) == (1, "") and "version 3 does not answer; version 2 still answers at http" in what
    assert (
        "Container kserve-container" in why and "ImagePullBackOff" in why and "Event ImagePullBackOff" in why
    )
    assert "cluster rollback" in fix and "stays pointed at the new path" in fix
    stand_in.break_pods(None)
    code, out, _ = command("rollback", "--timeout", "20")
    assert code == 0 and out.startswith("Version 2 answers")


def test_version_whose_file_is_missing_is_explained(stand_in, cluster, settings):
    with pytest.raises(
        ServiceError, match="No version found for model in path models/credit-card-fraud/version-4"
    ):
        point_service(cluster, "4", settings=settings, timeout_s=2)
    assert rollback_service(cluster, settings=settings, timeout_s=20).version == "2"


def test_missing_token_is_named_while_waiting(stand_in, cluster, settings):
    stand_in.keeper.remove("secrets", OWN, PROJECT.token_secret)
    with pytest.raises(
        ServiceError, match=r"no address answers from here \(http.*: It wants a token, and none was sent\)"
    ):
        point_service(cluster, "3", settings=settings, timeout_s=1)


def test_modelmesh_is_believed_when_its_status_is_settled(stand_in, cluster, settings):
    mode = {"metadata": {"annotations": {"serving.kserve.io/deploymentMode": "ModelMesh"}}}
    stand_in.keeper.patch("inferenceservices", OWN, MODEL, mode, {}, False)
    move = point_service(cluster, "3", settings=settings, timeout_s=20)
    assert "ModelMesh does not tell which version answers" in str(move)
    stand_in.keeper.patch(
        "inferenceservices",
        OWN,
        MODEL,
        {"status": {"modelStatus": {"transitionStatus": "InProgress"}}},
        {},
        False,
    )
    with pytest.raises(ServiceError, match="the model does not answer"):
        wait_for_service(cluster, PROJECT, None, settings, 0.5)


def test_rollback_skips_a_version_that_never_served(stand_in, cluster, settings):
    assert point_service(cluster, "3", settings=settings, timeout_s=20).version == "3"
    stand_in.break_pods("ImagePullBackOff")
    with pytest.raises(ServiceError, match="version 3 still answers"):
        point_service(cluster, "4", settings=settings, timeout_s=1)
    stand_in.break_pods(None)
    assert point_service(cluster, "2", settings=settings, timeout_s=20).version == "2"
    assert rollback_service(cluster, settings=settings, timeout_s=20).version == "3"


def test_busy_api_does_not_end_the_wait(stand_in, cluster, settings, monkeypatch):
    real, failures = rollout.read_places, [ClusterError("a", "b", "c")] * 2

    def read_places(*arguments):
        if failures:
            raise failures.pop()
        return real(*arguments)

    monkeypatch.setattr(rollout, "read_places", read_places)
    assert point_service(cluster, "3", settings=settings, timeout_s=20).version == "3"
    assert not failures


def test_trouble_that_may_not_be_read_is_said(stand_in, cluster, settings):
    stand_in.break_pods("Pending")
    for plural in ("pods", "events"):
        stand_in.forbid("list", plural, OWN)
    with pytest.raises(ServiceError, match="The pods could not be read.*The events could not be read"):
        point_service(cluster, "3", settings=settings, timeout_s=1)


def test_endpoint_that_cannot_be_reached_is_no_proof(stand_in, cluster, settings, monkeypatch):
    monkeypatch.setattr(rollout, "read_places", lambda *_: ([("inside", "http://a.svc.cluster.local")], []))
    with pytest.raises(ServiceError, match="version 3 does not answer; no address answers from here"):
        point_service(cluster, "3", settings=settings, timeout_s=1)


def interfere(monkeypatch, stand_in, change, times=1):
    """Let somebody change the InferenceService between our look at it and our write."""
    left, real = [None] * times, rollout.make_patch

    def make_patch(service, path, previous=None):
        if left:
            left.pop()
            stand_in.keeper.patch("inferenceservices", OWN, MODEL, change(len(left)), {}, False)
        return real(service, path, previous)

    monkeypatch.setattr(rollout, "make_patch", make_patch)


def test_somebody_faster_is_not_overwritten(stand_in, command, monkeypatch):
    storage = {"storage": {"path": f"models/{MODEL}/version-4"}}
    interfere(monkeypatch, stand_in, lambda _: {"spec": {"predictor": {"model": storage}}})
    code, out, err = command("serve", "--version", "3", "--timeout", "5")
    assert (code, out) == (1, "") and "Somebody else changed it meanwhile; it names models/credit-card-fraud/version-4 now." in err  # fmt: skip
    assert read_path(stand_in.keeper.get("inferenceservices", OWN, MODEL)).endswith("version-4")


def test_status_that_a_controller_writes_meanwhile_is_no_conflict(stand_in, cluster, monkeypatch):
    interfere(monkeypatch, stand_in, lambda n: {"metadata": {"labels": {"seen": str(n)}}}, times=3)
    moved = move_service(cluster, PROJECT, read_service(cluster, PROJECT), f"models/{MODEL}/version-3")
    assert read_path(moved).endswith("version-3")


def test_busy_object_is_given_up(stand_in, cluster, monkeypatch):
    interfere(monkeypatch, stand_in, lambda n: {"metadata": {"labels": {"seen": str(n)}}}, times=9)
    with pytest.raises(ClusterError, match="Somebody else changed it"):
        move_service(cluster, PROJECT, read_service(cluster, PROJECT), f"models/{MODEL}/version-3")


@pytest.mark.parametrize("change", [None, {"spec": {"predictor": {"model": {"storageUri": "s3://a/b"}}}}])
def test_service_that_cannot_be_moved_is_refused(stand_in, cluster, settings, change):
    place = ("inferenceservices", OWN, MODEL)
    if change:
        stand_in.keeper.patch(*place, change, {}, False)
    else:
        stand_in.keeper.remove(*place)
    with pytest.raises(FraudDemoError, match="storageUri" if change else "There is no InferenceService"):
        point_service(cluster, "3", settings=settings)


# endpoint


def test_endpoint_is_for_the_shell_and_the_table_for_people(stand_in, command):
    code, out, err = command("endpoint")
    assert code == 0 and out == f"INFERENCE_ENDPOINT={stand_in.controller.server.url}\n"
    assert "Version 2 answers in" in err and err.count("does not resolve") == 4
    code, out, _ = command("endpoint", "--json")
    assert json.loads(out)["version"] == "2" and len(json.loads(out)["candidates"]) == 5


def test_endpoint_without_the_token_says_that_one_is_wanted(stand_in, command):
    stand_in.forbid("get", "secrets", OWN)
    code, out, err = command("endpoint")
    assert (code, out) == (1, "") and "wants a token" in err and "answers at no address" in err


def test_own_token_and_own_address_come_first(stand_in, cluster, settings):
    stand_in.keeper.remove("secrets", OWN, PROJECT.token_secret)
    own = replace(settings, token=stand_in.model_token, inference_endpoint=stand_in.controller.server.url)
    route = find_endpoint(cluster, settings=own)
    assert route.source == "INFERENCE_ENDPOINT" and stand_in.model_token not in repr(route)
    with pytest.raises(RouteError, match="answers at no address"):
        find_endpoint(cluster, settings=replace(own, token="other"))


def test_route_and_status_url_are_tried(stand_in, cluster, settings):
    stand_in.keeper.put(make_object("Route", MODEL, OWN, spec={"host": "127.0.0.1:9"}))
    route = find_endpoint(cluster, settings=settings)
    assert ("Route", "https://127.0.0.1:9") in [(c.source, c.url) for c in route.candidates]
    stand_in.forbid("get", "routes", OWN)
    route = find_endpoint(cluster, settings=settings)
    assert [c.kind for c in route.candidates if c.source == "Route"] == ["forbidden"] and route.version == "2"


def test_puzzle_has_one_right_answer(stand_in):
    places = stand_in.list_puzzle()
    found = probe_places(places, PROJECT, stand_in.model_token, None, 3.0)
    assert [candidate.kind for candidate in found] == ["failed", "failed", "failed", "good"]
    assert len({candidate.outcome for candidate in found}) == 4


# doctor


def test_doctor_finds_nothing_on_a_finished_project(stand_in, command):
    command("connect")
    code, out, _ = command("doctor")
    assert code == 0 and "verdict" in out and "Deployment credit-card-fraud-app" in out
    code, out, _ = command("doctor", "--json")
    assert code == 0 and json.loads(out)["good"] is True and len(json.loads(out)["checks"]) == 25


@pytest.mark.parametrize(
    ("harm", "name", "fix"),
    [
        (lambda s: s.keeper.remove("secrets", OWN, PROJECT.connection), "Secret credit-card-fraud-models", "cluster connect"),
        (lambda s: s.keeper.remove("services", "mlflow", "mlflow-server"), "Service mlflow-server", "oc apply -k"),
        (lambda s: s.keeper.remove("servingruntimes", OWN, MODEL), "ServingRuntime credit-card-fraud", "oc apply -k"),
        (lambda s: s.keeper.remove("deployments", OWN, PROJECT.app), "Deployment credit-card-fraud-app", "oc apply -k"),
        (lambda s: s.keeper.remove("namespaces", "", "mlflow"), "Namespace mlflow", "oc new-project mlflow"),
        (
            lambda s: s.keeper.patch("objectbucketclaims", "mlflow", "mlflow-server", {"status": {"phase": "Pending"}}, {}, False),
            "ObjectBucketClaim mlflow-server",
            "oc describe obc mlflow-server",
        ),
        (
            lambda s: s.forbid("patch", "inferenceservices", OWN),
            "right: patch inferenceservices in credit-card-fraud",
            "--verb=patch --resource=inferenceservices.serving.kserve.io",
        ),
        (lambda s: s.api.unknown.add("notebooks"), "kind Notebook", "workbenches"),
    ],
)  # fmt: skip
def test_doctor_names_what_is_missing_and_what_adds_it(stand_in, cluster, settings, harm, name, fix):
    connect_store(cluster)
    harm(stand_in)
    [check] = [check for check in check_cluster(cluster, settings=settings).checks if not check.is_good]
    assert check.name == name and fix in check.fix


def test_doctor_goes_on_after_a_right_that_is_missing(stand_in, cluster, settings):
    connect_store(cluster)
    stand_in.forbid("get", "secrets", OWN)
    bad = {check.name for check in check_cluster(cluster, settings=settings).checks if not check.is_good}
    assert bad == {"right: get secrets in credit-card-fraud", "Secret credit-card-fraud-models", "endpoint"}


def test_doctor_does_not_need_to_look_at_everything(stand_in, cluster, settings):
    connect_store(cluster)
    for plural, namespace in (("namespaces", ""), ("services", "mlflow"), ("objectbucketclaims", "mlflow")):
        stand_in.forbid("get", plural, namespace)
    checkup = check_cluster(cluster, settings=settings)
    assert checkup.is_good and sum("may not look" in check.found for check in checkup.checks) == 4


def test_doctor_asks_for_each_right_by_name(stand_in, cluster, settings, monkeypatch):
    asked, real = [], stand_in.api.review
    monkeypatch.setattr(
        stand_in.api,
        "review",
        lambda sent: asked.append(sent["spec"]) or real(sent) if "spec" in sent else real(sent),
    )
    check_cluster(cluster, settings=settings)
    names = {(a["verb"], a["resource"]): a["name"] for a in (spec["resourceAttributes"] for spec in asked)}
    assert names["patch", "inferenceservices"] == MODEL and names["patch", "secrets"] == PROJECT.connection
    assert names["create", "secrets"] == ""


def test_doctor_knows_a_cluster_that_is_no_openshift(stand_in, cluster, settings):
    connect_store(cluster)
    stand_in.api.unknown |= {"routes", "notebooks", "objectbucketclaims"}
    checkup = check_cluster(cluster, settings=settings)
    assert checkup.is_good and sum("no OpenShift" in check.found for check in checkup.checks) == 3


def test_damage_of_the_lesson_is_found(stand_in, cluster, settings):
    connect_store(cluster)
    stand_in.damage()
    assert sum(not check.is_good for check in check_cluster(cluster, settings=settings).checks) == 3


# what others read of it


@pytest.fixture
def kubectl(stand_in, tmp_path):
    """Run the real command against the stand-in."""

    def run(*arguments, code=0, **options):
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": os.environ["KUBECONFIG"]}
        done = subprocess.run(
            [find_kubectl(), *arguments], env=env, capture_output=True, text=True, timeout=60, **options
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def test_kubectl_reads_what_the_commands_made(stand_in, cluster, settings, kubectl):
    connect_store(cluster, has_storage_config=True)
    point_service(cluster, "3", settings=settings, timeout_s=20)
    secret = json.loads(kubectl("get", "secret", PROJECT.connection, "-o", "json"))
    assert {key: decode_value(value) for key, value in secret["data"].items()} == read_secret(stand_in)
    assert kubectl("get", "isvc", MODEL, "-o", "jsonpath={.spec.predictor.model.storage.path}").endswith(
        "version-3"
    )
    assert "Started" in kubectl("get", "events", "-o", "jsonpath={.items[*].reason}")
    assert PROJECT.connection in kubectl("get", "secrets", "-l", "opendatahub.io/managed=true", "-o", "name")
    assert 'secrets "nothing" not found' in kubectl("get", "secret", "nothing", code=1)
    stand_in.forbid("get", "secrets", OWN)
    assert "Forbidden" in kubectl("get", "secret", PROJECT.connection, code=1)


def test_what_print_gives_can_be_applied_with_kubectl(stand_in, cluster, settings, kubectl):
    text = print_move(cluster, "3", PROJECT, settings)
    options = ("apply", "--server-side", "--validate=false", "-f", "-")
    said = kubectl(*options, input=text, code=1)
    assert "conflict" in said.lower()  # another manager wrote the path
    kubectl(*options, "--force-conflicts", input=text)
    assert read_path(read_service(cluster, PROJECT)).endswith("version-3")


def test_field_that_a_gitops_tool_owns_is_named_in_the_conflict(stand_in, cluster):
    change = {"metadata": {"annotations": {"a": "1"}}}
    stand_in.keeper.patch("secrets", OWN, PROJECT.token_secret, change, {"fieldManager": "argocd"}, True)
    with pytest.raises(Refusal, match='conflict with "argocd": .metadata.annotations.a'):
        stand_in.keeper.patch(
            "secrets", OWN, PROJECT.token_secret, {"metadata": {"annotations": {"a": "2"}}}, {}, True
        )


@pytest.mark.parametrize("overlay", ["openshift-ai-3", "openshift-ai-2-modelmesh"])
def test_rights_of_the_workbench_are_enough(stand_in, command, monkeypatch, overlay):
    """What the Roles in `deploy/` give the workbench's account is what the commands need."""
    roles = [
        item for item in render(overlay) if item["kind"] == "Role" and "view" not in item["metadata"]["name"]
    ]
    assert {role["metadata"]["namespace"] for role in roles} == {OWN, "mlflow"}

    def may(verb, plural, namespace, name):
        return any(
            verb in rule["verbs"] and plural in rule["resources"]
            and (not rule.get("resourceNames") or name in rule["resourceNames"])
            for role in roles if role["metadata"]["namespace"] == namespace for rule in role["rules"]
        )  # fmt: skip

    monkeypatch.setattr(stand_in.api, "may", may)
    for arguments in (("connect",), ("serve", "--version", "3"), ("rollback",), ("endpoint",),
                      ("doctor", "--json")):  # fmt: skip
        code, out, err = command(*arguments)
        assert code == 0, (arguments, out, err)
    assert "version 2 at" in out and "no command needs it" in out and json.loads(out)["good"]
