"""A stand-in for OpenVINO Model Server over REST: the same engine, and its words for what is wrong.

It follows the public documentation and source of OpenVINO Model Server 2026.3. It differs from our model server in
what a client notices: a folder's number is the version, an identifier is given back and never made up, a body that is
no JSON gets 412, a model that still loads gets 404, and only the last of the asked outputs counts. The real one runs
on the cluster; it is in no package index.

    python -m tests.serving.ovms_double model.onnx 8888 --version 3
"""

from __future__ import annotations

import argparse
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

DTYPES = {"FP32": "<f4", "INT64": "<i8"}
ELEMENTS = {"f32": "FP32", "i64": "INT64"}
MODEL_PATH = re.compile(
    r"/v2/models/(?P<name>[^/]+)(/versions/(?P<version>[0-9]+))?(?P<end>/infer|/ready|/)?"
)
# What is wrong, then the status of the answer.
NO_MODEL = ("Model with requested name is not found", 404)
NO_VERSION = ("Model with requested version is not found", 404)
LOADING = ("Model with requested version is not loaded yet", 404)
NOT_READY = ("Server is not ready", 503)
NO_JSON = ("The file is not valid json", 412)
NO_OBJECT = ("Request body should be JSON object", 400)
NO_INPUTS = ("Invalid JSON structure, missing inputs", 400)
NO_INPUT = ("Could not parse input content. Not valid ndarray detected", 400)
WRONG_URL = ("Invalid request URL", 400)
WRONG_METHOD = ("Unsupported method", 406)
WRONG_LENGTH = ("Inference-Header-Content-Length header exceeds actual payload length", 400)
SHORT_TAIL = ("Received buffer size is smaller than binary_data_size parameter indicates", 400)


class Refusal(Exception):
    """What is wrong with a request, and the status of the answer."""

    def __init__(self, fault: tuple[str, int], details: str = ""):
        super().__init__(f"{fault[0]} - {details}" if details else fault[0])
        self.status = fault[1]


def has_numbers_only(data: list) -> bool:
    """Tell whether nested lists hold JSON numbers and nothing else."""
    return all(
        has_numbers_only(item) if isinstance(item, list) else type(item) in (int, float) for item in data
    )


def flatten(data: list) -> list:
    """Take nested lists apart."""
    flat = []
    for item in data:
        flat += flatten(item) if isinstance(item, list) else [item]
    return flat


class Model:
    """One version of one model, computed by OpenVINO."""

    def __init__(self, path: Path, name: str, version: str):
        import openvino

        self.name, self.version, self.lock = name, version, threading.Lock()
        self.engine = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self.inputs, self.outputs = map(self.describe, (self.engine.inputs, self.engine.outputs))

    @staticmethod
    def describe(ports) -> list[dict]:
        """Describe tensors in the words of the protocol; they come in the order of their names."""
        tensors = [
            {
                "name": port.any_name,
                "datatype": ELEMENTS[port.element_type.get_type_name()],
                "shape": [size.get_length() if size.is_static else -1 for size in port.partial_shape],
            }
            for port in ports
        ]
        return sorted(tensors, key=lambda tensor: tensor["name"])

    def run(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Compute all outputs."""
        with self.lock:
            results = self.engine(rows)
            return {port.any_name: results[port].copy() for port in self.engine.outputs}

    def read(self, tensors: list[dict], tail: bytes) -> np.ndarray:
        """Check the inputs of a request and return the rows."""
        if len(tensors) != 1:
            raise Refusal(("Invalid number of inputs", 400), f"Expected: 1; Actual: {len(tensors)}")
        tensor, spec = tensors[0], self.inputs[0]
        shape = tensor["shape"]
        if tensor["name"] != spec["name"]:
            raise Refusal(("Missing input with specific name", 400), f"Required input: {spec['name']}")
        if tensor["datatype"] != spec["datatype"]:
            details = (
                f"Expected: {spec['datatype']}; Actual: {tensor['datatype']}; input name: {spec['name']}"
            )
            raise Refusal(("Invalid input precision", 400), details)
        if len(shape) != len(spec["shape"]) or shape[1:] != spec["shape"][1:] or shape[0] == 0:
            expected, actual = (",".join(map(str, sizes)) for sizes in (spec["shape"], shape))
            raise Refusal(
                ("Invalid input shape", 400),
                f"Expected: ({expected}); Actual: ({actual}); input name: {spec['name']}",
            )
        count = int(np.prod(shape))
        if "data" not in tensor:
            if len(tail) != 4 * count:
                details = (
                    f"Expected: {4 * count} bytes; Actual: {len(tail)} bytes; input name: {spec['name']}"
                )
                raise Refusal(("Invalid content size of tensor proto", 400), details)
            return np.frombuffer(tail, "<f4").reshape(shape)
        flat = flatten(tensor["data"])
        if len(flat) != count:
            details = f"Expected: {count} values; Actual: {len(flat)} values; input name: {spec['name']}"
            raise Refusal(("Invalid number of values in tensor proto container", 400), details)
        return np.array(flat, np.float32).reshape(shape)


def read_request(head: bytes) -> dict:
    """Read the JSON of an infer request."""
    try:
        request = json.loads(head, parse_constant=lambda word: 1 / 0)  # its parser knows no NaN
    except (ValueError, ZeroDivisionError):
        raise Refusal(NO_JSON) from None
    if not isinstance(request, dict):
        raise Refusal(NO_OBJECT)
    inputs = request.get("inputs")
    if not inputs:
        raise Refusal(NO_INPUTS)
    for tensor in inputs:
        shape, data = tensor.get("shape"), tensor.get("data", [])
        named = isinstance(tensor.get("name"), str) and isinstance(tensor.get("datatype"), str)
        sized = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
        if not named or not sized or not isinstance(data, list) or not has_numbers_only(data):
            raise Refusal(NO_INPUT)
    return request


class Handler(BaseHTTPRequestHandler):
    """Answer one connection."""

    protocol_version = "HTTP/1.1"
    model: Model | None = None  # None: it still loads
    name = version = ""

    def log_message(self, *args) -> None:
        """Write no log."""

    def do_GET(self) -> None:
        """Answer a question about the server or the model."""
        self.reply(self.get)

    def do_POST(self) -> None:
        """Answer a question to the model."""
        self.reply(self.post)

    def reply(self, choose) -> None:
        """Send what is chosen, or the refusal."""
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            status, (content, head_size) = 200, choose()
        except Refusal as refusal:
            status, content, head_size = refusal.status, json.dumps({"error": str(refusal)}).encode(), None
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if head_size is not None:
            self.send_header("inference-header-content-length", str(head_size))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def find(self, path: re.Match) -> Model:
        """Return the model that a path names."""
        if path["name"] != self.name:
            raise Refusal(NO_MODEL)
        if path["version"] not in (None, self.version):
            raise Refusal(NO_VERSION)
        if self.model is None:
            raise Refusal(LOADING)
        return self.model

    def get(self) -> tuple[bytes, None]:
        """Choose the answer to a GET."""
        if self.path == "/v2":
            return json.dumps({"name": "OpenVINO Model Server", "version": "2026.3"}).encode(), None
        if self.path == "/v2/health/live":
            return b"", None
        if self.path == "/v2/health/ready":
            if self.model is None:
                raise Refusal(NOT_READY)
            return b"", None
        path = MODEL_PATH.fullmatch(self.path)
        if not path or path["end"] == "/infer":
            raise Refusal(WRONG_METHOD if path else WRONG_URL)
        model = self.find(path)
        if path["end"] == "/ready":
            return b"", None
        described = {"name": model.name, "versions": [model.version], "platform": "OpenVINO"}
        return json.dumps({**described, "inputs": model.inputs, "outputs": model.outputs}).encode(), None

    def post(self) -> tuple[bytes, int | None]:
        """Choose the answer to a POST."""
        path = MODEL_PATH.fullmatch(self.path)
        if not path or path["end"] != "/infer":
            raise Refusal(WRONG_METHOD if path or self.path.startswith("/v2/health") else WRONG_URL)
        size = int(self.headers.get("Inference-Header-Content-Length", len(self.body)))
        if size > len(self.body):
            raise Refusal(WRONG_LENGTH)
        request, tail = read_request(self.body[:size]), self.body[size:]
        for tensor in request["inputs"]:
            if tensor.get("parameters", {}).get("binary_data_size", 0) > len(tail):
                raise Refusal(SHORT_TAIL)
        model = self.find(path)
        values = model.run(model.read(request["inputs"], tail))
        return self.write(model, values, request)

    def write(self, model: Model, values: dict[str, np.ndarray], request: dict) -> tuple[bytes, int | None]:
        """Write all outputs; the last one that was asked for may come as bytes."""
        asked = request.get("outputs", [])[-1:]  # its parser forgets those before
        wish = request.get("parameters", {}).get("binary_data_output", False)
        binary = {item["name"] for item in asked if item.get("parameters", {}).get("binary_data", wish)}
        outputs, tail = [], b""
        for spec in model.outputs:
            value = values[spec["name"]]
            output = {"name": spec["name"], "shape": list(value.shape), "datatype": spec["datatype"]}
            if spec["name"] in binary:
                raw = value.astype(DTYPES[spec["datatype"]]).tobytes()
                output["parameters"] = {"binary_data_size": len(raw)}
                tail += raw
            else:
                output["data"] = value.ravel().tolist()
            outputs.append(output)
        named = {"id": request["id"]} if request.get("id") else {}
        head = {"model_name": model.name, **named, "model_version": model.version, "outputs": outputs}
        content = json.dumps(head, indent=4).encode()
        return content + tail, len(content) if tail else None


def load_when_free(path: Path, name: str, version: str, hold: Path | None) -> None:
    """Load the model, and not before the file that holds it up is gone."""
    pause = threading.Event()
    while hold and hold.exists():
        pause.wait(0.02)
    Handler.model = Model(path, name, version)


def main() -> None:
    """Serve a file until a signal ends the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--name", default="credit-card-fraud")
    parser.add_argument("--version", default="1")
    parser.add_argument("--hold", type=Path, help="as long as this file is there, the model loads")
    options = parser.parse_args()
    Handler.name, Handler.version = options.name, options.version
    load = (options.path, options.name, options.version, options.hold)
    threading.Thread(target=load_when_free, args=load, daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
