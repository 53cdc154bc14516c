"""The model server as a process: how it starts, swaps versions, meets faults of its store, and ends."""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import psutil
import pytest
import requests

from tests.serving.server import (
    BIN,
    NAME,
    ROW,
    ObjectStore,
    Server,
    find_ports,
    infer,
    make_body,
    make_message,
    publish,
    read_columns,
    threshold_of,
    wait_until,
)


def test_listens_on_loopback_only(server):
    connections = psutil.Process(server.process.pid).connections("inet")
    listening = {
        (c.laddr.ip.removeprefix("::ffff:"), c.laddr.port) for c in connections if c.status == "LISTEN"
    }
    assert listening == {("127.0.0.1", server.http), ("127.0.0.1", server.grpc)}


def test_only_faults_are_logged_and_each_with_its_request_id(server, stub):
    before = server.log.read_text()
    for _ in range(20):
        infer(server, make_body())
        stub.ModelInfer(make_message())
    with socket.create_connection(("127.0.0.1", server.http)) as client:  # goes away in the middle of a body
        client.sendall(
            f"POST /v2/models/{NAME}/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{{".encode()
        )
    infer(server, {}, headers={"X-Request-ID": "rest-7"})
    with contextlib.suppress(grpc.RpcError):
        stub.ModelInfer(make_message(name="dense"), metadata=[("x-request-id", "grpc-7")])
    new = server.log.read_text().removeprefix(before).splitlines()
    assert [line[24:].split(":")[0] for line in new] == [
        "WARNING REST infer 400, request rest-7",
        "WARNING gRPC infer INVALID_ARGUMENT, request grpc-7",
    ]


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


def test_large_bodies_leave_no_memory_behind(folder, tmp_path):
    "Right and wrong ones, some at the same time."
    with Server(tmp_path / "log", "--model-dir", folder) as server:
        wait_until(server.is_ready)
        process = psutil.Process(server.process.pid)
        right = json.dumps(make_body([1.25] * 700_000, [100_000, 7])).encode()
        bodies = [right] * 12 + [b"[" * 2**24, b"[" + b"0," * 2**23 + b"0]"] * 4

        def send(body):
            return server.post(f"/v2/models/{NAME}/infer", data=body).status_code

        assert send(right) == 200
        before = process.memory_info().rss
        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(send, bodies)) == [200] * 12 + [400] * 8
        # 20 MiB above; 100 and more without release_memory
        wait_until(lambda: process.memory_info().rss < before + 60 * 2**20, 30)
