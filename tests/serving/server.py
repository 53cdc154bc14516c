"""A model server in a process of its own, what it serves, and questions to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import requests

from fraud_demo.registry import open_bucket

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

    def __init__(self, log, *options, program=(BIN / "fraud-demo-model-server",), **environ):
        self.http, self.grpc = find_ports(2)
        self.url, self.grpc_url = f"http://127.0.0.1:{self.http}", f"127.0.0.1:{self.grpc}"
        self.log = Path(log)
        ports = ["--http-port", str(self.http), "--grpc-port", str(self.grpc)]
        with self.log.open("wb") as target:
            self.process = subprocess.Popen(
                [*program, *ports, *map(str, options)],
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
