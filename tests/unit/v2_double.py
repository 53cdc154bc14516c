"""A small V2 model server for tests: right by default, and wrong on request."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

WEIGHTS = np.array([0.01, 0.02, 0.9, -0.3, -0.5, -2.0, 1.5], dtype=np.float32).reshape(7, 1)
BIAS = np.float32(-3.0)
THRESHOLD = np.float32(0.3)
LEGITIMATE = (57.87785658389723, 0.3111400080477545, 1.9459399775518593, 1.0, 1.0, 0.0, 0.0)
FRAUDULENT = (15.694985541059943, 175.98918151972342, 0.8556228290724207, 1.0, 0.0, 0.0, 1.0)


def make_rows(n, seed=0):
    """Return n random transactions, float32 [n, 7]."""
    rng = np.random.default_rng(seed)
    amounts = rng.lognormal([2.3, 0.0, 0.0], [1.4, 1.8, 1.1], (n, 3))
    return np.hstack([amounts, rng.integers(0, 2, (n, 4))]).astype(np.float32)


def run_model(features):
    """Return the outputs of the double's model by name."""
    logit = (features * WEIGHTS.T).sum(
        axis=1, keepdims=True
    ) + BIAS  # a row's sum does not depend on its neighbors
    probability = (1 / (1 + np.exp(-logit))).astype(np.float32)
    return {
        "fraud_probability": probability,
        "is_fraud": (probability >= THRESHOLD).astype(np.int64),
        "threshold": np.full_like(probability, THRESHOLD),
    }


def save_onnx(path: Path) -> Path:
    """Write the double's model as the ONNX file that the workbook serves."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def constant(name, value):
        return numpy_helper.from_array(np.asarray(value, dtype=np.float32), name)

    def tensor(name, kind=TensorProto.FLOAT, width=1):
        return helper.make_tensor_value_info(name, kind, ["n", width])

    nodes = [
        helper.make_node("MatMul", ["dense_input", "w"], ["wx"]),
        helper.make_node("Add", ["wx", "b"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["fraud_probability"]),
        helper.make_node("GreaterOrEqual", ["fraud_probability", "t"], ["is_above"]),
        helper.make_node("Cast", ["is_above"], ["is_fraud"], to=TensorProto.INT64),
        helper.make_node("Mul", ["fraud_probability", "zero"], ["zeros"]),
        helper.make_node("Add", ["zeros", "t"], ["threshold"]),
    ]
    outputs = [tensor("fraud_probability"), tensor("is_fraud", TensorProto.INT64), tensor("threshold")]
    constants = [constant("w", WEIGHTS), constant("b", BIAS), constant("t", THRESHOLD), constant("zero", 0)]
    graph = helper.make_graph(nodes, "double", [tensor("dense_input", width=7)], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


SPECS = {"fraud_probability": "FP32", "is_fraud": "INT64", "threshold": "FP32"}
DTYPES = {"FP32": "<f4", "INT64": "<i8"}


class V2Double:
    """Serve the model on a free port of 127.0.0.1; `script` holds what goes wrong next.

    Each entry of `script` answers one request: a number of seconds to wait before a right answer,
    "close" to drop the connection, or (status, content type, body).
    """

    def __init__(self, name="credit-card-fraud", version="1", outputs=tuple(SPECS), context=None):
        self.name, self.version, self.outputs = name, version, outputs
        self.token = self.metadata = None
        self.script, self.seen = [], []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(self))
        self.server.daemon_threads = True
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        scheme = "https" if context else "http"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)

    def count(self, end="/infer"):
        """Return how many requests came in whose path ends so."""
        return sum(path.endswith(end) for _, path, _ in self.seen)

    def describe(self):
        def tensor(name, datatype, width):
            return {"name": name, "datatype": datatype, "shape": [-1, width]}

        return self.metadata or {
            "name": self.name,
            "versions": [self.version],
            "platform": "double",
            "inputs": [tensor("dense_input", "FP32", 7)],
            "outputs": [tensor(name, SPECS.get(name, "FP32"), 1) for name in self.outputs],
        }

    def infer(self, headers, body):
        """Return (status, headers, body) of a right answer, or of a refusal."""
        size = int(headers.get("Inference-Header-Content-Length", len(body)))
        request = json.loads(body[:size])
        tensor = request["inputs"][0]
        expected = self.describe()["inputs"][0]
        if tensor["name"] != expected["name"] or tensor["shape"][1:] != expected["shape"][1:]:
            return (
                400,
                {},
                json.dumps({"error": f"Invalid input {tensor['name']} {tensor['shape']}"}).encode(),
            )
        flat = np.frombuffer(body[size:], "<f4") if size < len(body) else np.array(tensor["data"], "<f4")
        values = run_model(flat.reshape(tensor["shape"]))
        values = dict(zip(self.outputs, values.values(), strict=False))
        binary = {o["name"] for o in request.get("outputs", ()) if o.get("parameters", {}).get("binary_data")}
        return self.write(values, binary)

    def write(self, values, binary):
        outputs, tail = [], b""
        for name, value in values.items():
            datatype = SPECS.get(name, "FP32")
            output = {"name": name, "datatype": datatype, "shape": list(value.shape)}
            raw = value.astype(DTYPES[datatype]).tobytes()
            if name in binary:
                output["parameters"] = {"binary_data_size": len(raw)}
                tail += raw
            else:
                output["data"] = value.ravel().tolist()
            outputs.append(output)
        head = json.dumps(
            {"model_name": self.name, "model_version": self.version, "outputs": outputs}
        ).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))} if binary else {}
        return 200, headers, head + tail


def make_handler(double):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def answer(self, status, headers, body):
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def handle_one(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            double.seen.append((self.command, self.path, dict(self.headers)))
            fault = double.script.pop(0) if double.script else None
            if fault == "close":
                self.close_connection = True
                self.connection.close()
                return
            if isinstance(fault, tuple):
                self.answer(fault[0], {"Content-Type": fault[1], **(fault[3] if fault[3:] else {})}, fault[2])
                return
            if fault is not None:
                time.sleep(fault)
            self.answer(*self.choose(body))

        def choose(self, body):
            base = f"/v2/models/{double.name}"
            if double.token and self.headers.get("Authorization") != f"Bearer {double.token}":
                return 401, {}, b'{"error": "Unauthorized"}'
            if not self.path.startswith("/v2"):
                return 404, {}, b'{"detail": "Not Found"}'
            if self.path not in (base, f"{base}/infer", f"{base}/ready"):
                return 404, {}, b'{"error": "Model with name %s does not exist."}' % self.path.encode()
            if self.command == "GET":
                return 200, {}, json.dumps(double.describe()).encode()
            return double.infer(self.headers, body)

        def do_GET(self):
            self.handle_one()

        do_POST = do_GET

    return Handler
