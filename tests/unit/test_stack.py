"""The local stack for real: started, looked at, killed, started again, stopped."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import psutil
import pytest
import requests

from fraud_demo.core import InputError, MissingStepError, ObjectStore, ServiceError, Settings, load_settings
from fraud_demo.registry import open_bucket
from fraud_demo.workshop import stack
from fraud_demo.workshop.stack import (
    PORTS,
    SERVICES,
    find_processes,
    get_status,
    is_free,
    read_log,
    start_stack,
    stop_stack,
    wait_until,
)
from tests.unit.v2_double import save_onnx

STRANGERS = {"AWS_SECRET_ACCESS_KEY": "key of another cloud", "AWS_PROFILE": "another", "MLFLOW_TRACKING_TOKEN": "no token of ours",
             "MLFLOW_BACKEND_STORE_URI": "sqlite:///elsewhere.db", "HTTP_PROXY": "http://127.0.0.1:9"}  # fmt: skip


def occupy(port):
    """Listen on a port, unless somebody else does already."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with suppress(OSError):
        listener.bind(("127.0.0.1", port))
        listener.listen()
    assert not is_free(port)
    return listener


def load(home) -> Settings:
    return load_settings({"FRAUD_DEMO_HOME": str(home)})


def list_pids(status) -> dict[str, int]:
    return {service.name: service.pid for service in status.services}


def list_listeners(processes) -> set[tuple[str, int]]:
    found = set()
    for process in processes:
        for connection in process.connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                found.add((connection.laddr.ip, connection.laddr.port))
    return found


def read_files(home) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path(home).rglob("*") if path.is_file()}


class Running:
    """The stack of this module, and what its first start said."""

    def __init__(self, home):
        self.home, self.heard = home, []
        began = time.monotonic()
        self.first = start_stack(load(home), report=self.heard.append)
        self.seconds = time.monotonic() - began

    @property
    def settings(self) -> Settings:
        return load(self.home)

    def call_mlflow(self, path, **body) -> dict:
        answer = requests.post(
            f"{self.settings.stack['mlflow']}/api/2.0/mlflow/{path}", json=body, timeout=20
        )
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A started stack beside a stranger on MLflow's usual port, in a shell full of other people's settings."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch, closing(occupy(PORTS["mlflow"])):
        for name, value in STRANGERS.items():
            patch.setenv(name, value)
        patch.setenv(
            "NO_PROXY", "127.0.0.1,localhost"
        )  # for the clients in these tests; the services get their own
        try:
            yield Running(home)
        finally:
            stop_stack(load(home))
            assert not find_processes(home)


def test_everything_answers_after_the_start(running):
    status = running.first
    assert status.is_healthy
    assert [service.name for service in status.services] == list(SERVICES)
    assert all(service.pid and service.is_managed and service.restarts == 0 for service in status.services)
    facts = json.loads(json.dumps(status.to_dict()))
    assert facts["model"] == {
        "registered_name": "DNN-credit-card-fraud", "version": None, "served_name": "credit-card-fraud",
        "endpoint": f"{facts['services']['model_server']['url']}/v2/models/credit-card-fraud/infer"}  # fmt: skip
    assert re.fullmatch(r"127\.0\.0\.1:\d+", facts["services"]["model_server"]["grpc"])
    assert running.heard[-2:-1] != [] and running.heard[-1].startswith("Ready after")


def test_a_taken_port_is_avoided_and_named(running):
    port = int(running.settings.stack["mlflow"].rpartition(":")[2])
    assert port != 5000 and 5000 < port < 5500
    assert any("Port 5000 is taken" in sentence and str(port) in sentence for sentence in running.heard)


def test_the_second_start_starts_nothing(running):
    began = time.monotonic()
    again = start_stack(running.settings)
    assert time.monotonic() - began < 5
    assert list_pids(again) == list_pids(running.first)
    assert again.is_healthy


def test_addresses_are_where_the_lessons_look(running):
    state = json.loads((running.home / "stack.json").read_text())
    assert list(state["services"]) == ["object_store", "mlflow", "model_server", "app", "model_server_grpc"]
    assert running.settings.stack == state["services"]
    assert running.settings.object_store.endpoint == state["services"]["object_store"]
    assert running.settings.endpoint == state["services"]["model_server"]


def test_only_this_machine_is_listened_to(running):
    processes = find_processes(running.home)
    listeners = list_listeners(processes)
    assert {port for _, port in listeners} == set(
        json.loads((running.home / "stack.json").read_text())["ports"].values()
    )
    assert {ip for ip, _ in listeners} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    path = json.loads((running.home / "stack.json").read_text())["socket"]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o700


def check_key(running):
    """Assert that the key is in three private files, and in nothing that another program or person could read."""
    secret = running.settings.object_store.secret_key
    names = ("object_store.json", "object_store/s3.json", "object_store/credentials")
    holders = {running.home / name for name in names}
    assert {
        path for path, content in read_files(running.home).items() if secret.encode() in content
    } == holders
    assert {stat.S_IMODE(path.stat().st_mode) for path in holders} == {0o600}
    for process in find_processes(running.home):
        assert secret not in " ".join((*process.cmdline(), *process.environ().values()))


def test_the_key_is_in_three_private_files_and_nowhere_else(running):
    check_key(running)
    logs = list((running.home / "logs").glob("m*.log"))
    assert logs and all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in logs)


def test_the_services_do_not_see_other_settings_of_the_shell(running):
    processes = find_processes(running.home)
    assert len(processes) >= 5
    for process in processes:
        environ = process.environ()
        assert not set(environ.values()) & {
            value for name, value in STRANGERS.items() if name != "HTTP_PROXY"
        }
        assert "127.0.0.1" in environ["NO_PROXY"]


def test_the_bucket_opens_with_its_key_only(running):
    from botocore.exceptions import ClientError

    store = running.settings.object_store
    wrong = replace(store, secret_key="x" * 40)
    with pytest.raises(ClientError):
        open_bucket(wrong).list_objects_v2(Bucket=store.bucket)
    assert requests.get(f"{store.endpoint}/{store.bucket}", timeout=5).status_code == 403
    assert get_status(
        replace(running.settings, object_store=wrong)
    ).is_healthy  # the stack's own key counts, not a stale one


def test_mlflow_refuses_foreign_names_and_keeps_files_in_the_bucket(running):
    url = running.settings.stack["mlflow"]
    refused = requests.get(
        f"{url}/api/2.0/mlflow/experiments/search?max_results=1", headers={"Host": "evil.example"}, timeout=20
    )
    assert refused.status_code == 403
    assert requests.put(f"{url}/api/2.0/mlflow-artifacts/artifacts/probe.txt", data=b"kept", timeout=30).ok
    store = running.settings.object_store
    assert open_bucket(store).get_object(Bucket=store.bucket, Key="probe.txt")["Body"].read() == b"kept"


def test_mlflow_is_one_process(running):
    """One server, started again cleanly after a kill: nothing of it may outlive its first process."""
    [process] = [
        p for p in find_processes(running.home) if p.environ().get("SUPERVISOR_PROCESS_NAME") == "mlflow"
    ]
    assert process.pid == list_pids(running.first)["mlflow"]


def test_the_champion_is_in_the_status(running):
    name = "DNN-credit-card-fraud"
    assert get_status(running.settings).model["version"] is None
    experiment = running.call_mlflow("experiments/create", name=name)["experiment_id"]
    run = running.call_mlflow("runs/create", experiment_id=experiment)["run"]["info"]
    running.call_mlflow("registered-models/create", name=name)
    version = running.call_mlflow("model-versions/create", name=name, run_id=run["run_id"], source=f"{run['artifact_uri']}/model",
                                  tags=[{"key": "precision", "value": "0.95"}, {"key": "origin", "value": "test"}])  # fmt: skip
    assert get_status(running.settings).model["version"] is None
    running.call_mlflow(
        "registered-models/alias", name=name, alias="champion", version=version["model_version"]["version"]
    )
    status = get_status(running.settings)
    assert status.model["version"] == "1" and status.figures == {"precision": 0.95}
    assert "version 1" in str(status) and "version 1" in status._repr_html_()
    assert get_status(replace(running.settings, seat="07")).model["version"] is None


def test_a_published_model_must_be_ready(running, tmp_path):
    store, key = running.settings.object_store, "models/credit-card-fraud"
    bucket, server = open_bucket(store), running.settings.stack["model_server"]
    pointer = json.dumps({"version": "1", "prefix": f"{key}/version-1"}).encode()
    bucket.put_object(Bucket=store.bucket, Key=f"{key}/serving.json", Body=pointer)
    status = get_status(running.settings)
    assert [service.name for service in status.services if not service.is_healthy] == ["model_server"]
    save_onnx(tmp_path / "model.onnx")
    bucket.put_object(
        Bucket=store.bucket, Key=f"{key}/version-1/1/model.onnx", Body=(tmp_path / "model.onnx").read_bytes()
    )
    assert (
        requests.post(f"{server}/v2/repository/models/credit-card-fraud/load", timeout=20).status_code == 200
    )
    assert get_status(running.settings).is_healthy


def test_a_killed_service_comes_back_and_is_counted(running):
    before = list_pids(get_status(running.settings))
    os.kill(before["mlflow"], signal.SIGKILL)
    assert wait_until(lambda: get_status(running.settings).services[1].restarts == 1, 20)
    status = start_stack(running.settings)
    after = list_pids(status)
    assert after["mlflow"] != before["mlflow"]
    assert {name: pid for name, pid in after.items() if name != "mlflow"} == {
        n: p for n, p in before.items() if n != "mlflow"
    }
    mlflow = status.services[1]
    assert mlflow.restarts == 1 and status.is_healthy
    age = datetime.now().astimezone() - datetime.fromisoformat(mlflow.last_restart)
    assert 0 <= age.total_seconds() < 120
    assert "1, last at" in str(status.table)


def test_logs_are_read_from_the_end(running):
    text = read_log(running.settings, "mlflow", 3)
    assert len(text.splitlines()) == 3
    assert "Uvicorn running" in read_log(running.settings, "mlflow", 1000)
    assert "spawned: 'app'" in read_log(running.settings, "supervisor", 1000)
    with pytest.raises(InputError, match="object_store, mlflow"):
        read_log(running.settings, "postgres")


def test_a_service_of_yours_is_used_and_not_started(running, tmp_path):
    """Bucket, endpoint and then MLflow are the other stack's; the folder has a deep and odd name."""
    home = tmp_path / ("a folder with 100% odd characters # ; and deep " + "x" * 40)
    other = running.settings
    own = Settings(home=home, object_store=other.object_store, inference_endpoint=other.stack["model_server"])
    try:
        status = start_stack(own)
        facts = status.to_dict()["services"]
        assert status.is_healthy
        assert {name for name, fact in facts.items() if not fact["managed"]} == {
            "object_store",
            "model_server",
        }
        assert (
            facts["object_store"]["url"] == other.object_store.endpoint
            and facts["object_store"]["pid"] is None
        )
        assert status.model["endpoint"] == other.stack["model_server"]
        assert list(load(home).stack) == ["mlflow", "app"]
        put = requests.put(
            f"{load(home).stack['mlflow']}/api/2.0/mlflow-artifacts/artifacts/other.txt",
            data=b"kept",
            timeout=30,
        )
        assert put.ok, read_log(own, "mlflow")
        found = open_bucket(other.object_store).get_object(Bucket=other.object_store.bucket, Key="other.txt")
        assert found["Body"].read() == b"kept"
        secret = other.object_store.secret_key.encode()
        assert not [path for path, content in read_files(home).items() if secret in content]
        assert len(find_processes(home)) == 3
        [app] = [p for p in find_processes(home) if p.environ().get("SUPERVISOR_PROCESS_NAME") == "app"]
        assert app.environ()["INFERENCE_ENDPOINT"] == other.stack["model_server"]
        path = Path(json.loads((home / "stack.json").read_text())["socket"])
        assert home not in path.parents
    finally:
        stop_stack(own)
    assert not find_processes(home) and not path.parent.exists()


def test_an_mlflow_of_yours_is_asked_and_not_run(running, tmp_path):
    route = Settings(home=tmp_path, mlflow_route=running.settings.stack["mlflow"])
    status = get_status(route)
    mlflow = status.services[1]
    assert (mlflow.is_healthy, mlflow.is_managed, mlflow.url) == (True, False, route.mlflow_route)
    assert status.model["version"] == "1"
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        gone = replace(route, mlflow_route=f"http://127.0.0.1:{unused.getsockname()[1]}")
        mlflow = get_status(gone).services[1]
    assert (mlflow.is_healthy, mlflow.is_managed, mlflow.url) == (False, False, gone.mlflow_route)


def test_a_killed_supervisor_leaves_no_orphans_to_the_next_start(running):
    """Two starts at once find the mess; one cleans up, and both end with the same four processes."""
    before = find_processes(running.home)
    ports = json.loads((running.home / "stack.json").read_text())["ports"]
    [supervisor] = [process for process in before if "supervisor.supervisord" in process.cmdline()]
    supervisor.kill()
    assert wait_until(lambda: len(find_processes(running.home)) == len(before) - 1, 10)
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: start_stack(running.settings), range(2))
    assert one.is_healthy and two.is_healthy
    assert list_pids(one) == list_pids(two)
    assert not {process.pid for process in before} & {process.pid for process in find_processes(running.home)}
    assert len(find_processes(running.home)) == 5
    assert json.loads((running.home / "stack.json").read_text())["ports"] == ports
    assert one.model["version"] == "1"  # what was stored is still there, in MLflow and in the bucket
    assert (
        requests.get(
            f"{running.settings.stack['model_server']}/v2/models/credit-card-fraud/ready", timeout=5
        ).status_code
        == 200
    )


def test_stop_ends_every_process_and_frees_every_port(running):
    check_key(running)  # once more, after everything above was logged
    processes = find_processes(running.home)
    ports = json.loads((running.home / "stack.json").read_text())["ports"]
    assert processes
    began = time.monotonic()
    stop_stack(running.settings)
    assert time.monotonic() - began < 25
    assert not find_processes(running.home)
    assert not [
        process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]
    assert all(is_free(port) for port in ports.values())
    assert json.loads((running.home / "stack.json").read_text()) == {"services": {}, "ports": ports}
    assert running.settings.stack == {}
    status = get_status(running.settings)
    assert not any(service.is_healthy or service.url for service in status.services)
    stop_stack(running.settings)


def test_stop_where_nothing_was_started(tmp_path):
    stop_stack(Settings(home=tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


def test_a_service_that_dies_again_and_again_ends_the_wait(tmp_path):
    settings, failing = (
        Settings(home=tmp_path),
        (sys.executable, "-c", "raise SystemExit('the card reader is unplugged')"),
    )
    began = time.monotonic()
    try:
        with pytest.raises(ServiceError) as caught:
            start_stack(settings, only=["app"], commands={"app": failing})
        assert time.monotonic() - began < 30
        assert "app" in caught.value.what and "the card reader is unplugged" in caught.value.why
        assert "logs/app.log" in caught.value.why and str(tmp_path) not in str(caught.value)
        assert "fraud-demo logs app" in caught.value.fix
        page = (sys.executable, "-c", "import http.server as h, os; h.test(h.SimpleHTTPRequestHandler, bind='127.0.0.1', "
                "port=int(os.environ['GRADIO_SERVER_PORT']))")  # fmt: skip
        assert start_stack(settings, only=["app"], commands={"app": page}).services[3].is_healthy
    finally:
        stop_stack(settings)
    assert not find_processes(tmp_path)


def test_what_gave_up_is_started_again_and_the_rest_stays(tmp_path):
    settings, switch = Settings(home=tmp_path / "home"), tmp_path / "ready"
    code = ("import http.server as h, os, sys; os.path.exists(sys.argv[1]) or sys.exit('not yet'); "
            "h.test(h.SimpleHTTPRequestHandler, bind='127.0.0.1', port=int(os.environ['GRADIO_SERVER_PORT']))")  # fmt: skip
    commands = {"app": (sys.executable, "-c", code, str(switch))}
    only = ["object_store", "app"]
    try:
        with pytest.raises(ServiceError, match="not yet"):
            start_stack(settings, only=only, commands=commands)
        store = get_status(settings).services[0]
        assert store.is_healthy
        switch.touch()
        status = start_stack(settings, only=only, commands=commands)
        assert status.services[3].is_healthy and status.services[0].pid == store.pid
    finally:
        stop_stack(settings)


def test_the_wait_has_a_limit_and_says_what_is_slow(tmp_path):
    settings, heard = Settings(home=tmp_path), []
    command = (sys.executable, "-c", "import time; print('counting sheep', flush=True); time.sleep(600)")
    try:
        with pytest.raises(ServiceError) as caught:
            start_stack(settings, heard.append, only=["app"], commands={"app": command}, timeout_s=5)
        assert (
            "app gave no good answer within 5 s" in caught.value.what and "counting sheep" in caught.value.why
        )
        assert any(re.fullmatch(r"Waiting for app \(\d s\)\.", sentence) for sentence in heard)
    finally:
        stop_stack(settings)


def test_a_port_that_was_asked_for_is_not_moved(tmp_path, monkeypatch):
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        monkeypatch.setenv("GRADIO_SERVER_PORT", str(port))
        with pytest.raises(InputError, match=f"port {port}"):
            start_stack(Settings(home=tmp_path))
    assert not find_processes(tmp_path)
    monkeypatch.setenv("GRADIO_SERVER_PORT", "many")
    with pytest.raises(InputError, match="'many'"):
        start_stack(Settings(home=tmp_path))


def test_an_asked_port_wins_over_the_usual_port_of_a_neighbor():
    asked = stack.find_port(range(21000, 21500))
    ports = stack.choose_ports(["mlflow", "app"], remembered={"mlflow": asked}, asked={"app": asked})
    assert ports["app"] == asked and ports["mlflow"] != asked


def test_no_two_services_get_the_same_port():
    ports = stack.choose_ports(
        SERVICES, remembered=dict.fromkeys(PORTS, stack.find_port(range(22000, 22500)))
    )
    assert len(set(ports.values())) == len(PORTS)


def test_a_process_without_the_mark_is_not_touched(tmp_path):
    marked, other = (
        {**os.environ, "FRAUD_DEMO_STACK": os.path.realpath(path)} for path in (tmp_path, tmp_path / "other")
    )
    ours, stranger = (subprocess.Popen(["sleep", "60"], env=env) for env in (marked, other))
    try:
        assert wait_until(lambda: [process.pid for process in find_processes(tmp_path)] == [ours.pid], 5)
        stack.end_processes(tmp_path)
        assert ours.wait(5) == -signal.SIGTERM
        assert stranger.poll() is None
    finally:
        for process in (ours, stranger):
            process.kill()
            process.wait()


def test_the_fingerprint_knows_every_setting_that_counts(tmp_path):
    settings = Settings(home=tmp_path)
    own = ObjectStore("https://s3.example", "ours", "eu", "abc", "s3cret")
    ports = dict(PORTS)
    variants = [
        settings, replace(settings, seat="07"), replace(settings, token="t"), replace(settings, token="u"),
        replace(settings, object_store=own), replace(settings, object_store=replace(own, secret_key="new")),
        replace(settings, ca_bundle="ca.pem"), replace(settings, inference_endpoint="http://model.example"),
    ]  # fmt: skip
    prints = [
        stack.make_plan(variant, ports, stack.list_managed(variant)).fingerprint for variant in variants
    ]
    assert len(set(prints)) == len(prints)
    assert prints[0] == stack.make_plan(settings, ports, SERVICES).fingerprint
    assert prints[0] != stack.make_plan(settings, {**ports, "app": 7999}, SERVICES).fingerprint


def test_restarts_are_counted_since_the_last_start_of_the_supervisor():
    day = "2026-01-05 09:00:"
    old = f"{day}00,1 INFO supervisord started with pid 1\n{day}01,1 WARN exited: app (terminated by SIGKILL; not expected)\n" \
          f"{day}02,1 INFO spawned: 'app' with pid 3\n"  # fmt: skip
    new = f"{day}10,1 INFO supervisord started with pid 2\n{day}11,1 INFO spawned: 'app' with pid 4\n"
    end = f"{day}12,1 WARN exited: app (exit status 1; not expected)\n"
    again = f"{day}13,1 INFO spawned: 'app' with pid 5\n"
    assert stack.count_restarts("") == {}
    assert stack.count_restarts(old)["app"][0] == 1
    assert stack.count_restarts(old + new) == {}
    assert stack.count_restarts(old + new + end) == {}
    assert stack.count_restarts(old + new + end + again)["app"][0] == 1
    assert stack.count_restarts(old + new + end + again + end + again)["app"][0] == 2


def test_a_missing_program_is_named(tmp_path):
    with pytest.raises(MissingStepError, match="no-such-weed.*AWS_S3_ENDPOINT"):
        start_stack(Settings(home=tmp_path / "home"), commands={"object_store": ["no-such-weed"]})
    assert not (tmp_path / "home").exists()


def test_a_log_of_a_service_that_never_ran(tmp_path):
    with pytest.raises(MissingStepError, match="fraud-demo up"):
        read_log(Settings(home=tmp_path), "app")


def write_state(folder, **state):
    """Leave the state of a stack that was started in a folder, and something that it stored."""
    (folder / "mlflow").mkdir(parents=True)
    (folder / "mlflow" / "mlflow.db").write_text("runs")
    (folder / "stack.json").write_text(json.dumps({"services": {}, "ports": {}, **state}))
    return folder


def test_stopping_by_another_name_deletes_nothing(tmp_path):
    """The folder of the stack is reached by a link; its state names the socket by the other name."""
    real = write_state(tmp_path / "real", socket=str(tmp_path / "real" / "supervisor.sock"))
    (tmp_path / "link").symlink_to(real)
    stop_stack(load(tmp_path / "link"))
    assert (real / "mlflow" / "mlflow.db").read_text() == "runs"


@pytest.mark.parametrize("knows_home", [True, False])
def test_stopping_a_copy_leaves_the_original_alone(tmp_path, knows_home):
    told = {"home": str(tmp_path / "original")} if knows_home else {}
    original = write_state(
        tmp_path / "original", socket=str(tmp_path / "original" / "supervisor.sock"), **told
    )
    shutil.copytree(original, tmp_path / "copy")
    (original / "supervisor.sock").touch()
    stop_stack(load(tmp_path / "copy"))
    assert (original / "mlflow" / "mlflow.db").read_text() == "runs"
    assert (original / "supervisor.sock").exists() or not knows_home


def test_a_folder_that_was_made_for_the_socket_goes_when_it_is_empty(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    home = write_state(tmp_path / "home with blanks")
    path = stack.choose_socket(home)
    assert path.parent.parent == tmp_path and path.parent != home
    path.touch()
    (home / "stack.json").write_text(json.dumps({"socket": str(path), "home": str(home.resolve())}))
    stop_stack(load(home))
    assert not path.parent.exists() and (home / "mlflow" / "mlflow.db").exists()


def test_a_grpc_endpoint_is_looked_at_without_http(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        open_port = listener.getsockname()[1]
        for number, verdict in ((open_port, True), (1, False)):
            settings = load_settings(
                {"FRAUD_DEMO_HOME": str(tmp_path), "INFERENCE_ENDPOINT": f"grpc://127.0.0.1:{number}"}
            )
            assert stack.check_model_server(settings) == (settings.inference_endpoint, verdict)
