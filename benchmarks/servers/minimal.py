"""The least that answers a V2 request over HTTP: Starlette, uvicorn, orjson, ONNX Runtime, and no check at all.

python benchmarks/servers/minimal.py model.onnx 8080
"""

import sys

import numpy as np
import onnxruntime
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

DATATYPES = {"float32": "FP32", "int64": "INT64"}
HEADER = "Inference-Header-Content-Length"


def load_session(path):
    """Load the ONNX file, as the model server does."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def make_app(session):
    """Make the application: one route for the one model."""
    names = [output.name for output in session.get_outputs()]

    async def infer(request):
        body = await request.body()
        size = int(request.headers.get(HEADER, len(body)))
        message = orjson.loads(body[:size])
        tensor = message["inputs"][0]
        values = (
            np.array(tensor["data"], np.float32) if "data" in tensor else np.frombuffer(body[size:], "<f4")
        )
        results = session.run(names, {tensor["name"]: values.reshape(tensor["shape"])})
        outputs = [
            {"name": name, "datatype": DATATYPES[result.dtype.name], "shape": result.shape}
            for name, result in zip(names, results, strict=True)
        ]
        answer = {
            "model_name": request.path_params["name"],
            "model_version": "1",
            "id": "",
            "outputs": outputs,
        }
        if size == len(body):
            for output, result in zip(outputs, results, strict=True):
                output["data"] = result.ravel()
            return Response(
                orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json"
            )
        for output, result in zip(outputs, results, strict=True):
            output["parameters"] = {"binary_data_size": result.nbytes}
        head = orjson.dumps(answer)
        content = b"".join([head, *(result.tobytes() for result in results)])
        return Response(content, headers={HEADER: str(len(head))}, media_type="application/octet-stream")

    return Starlette(routes=[Route("/v2/models/{name}/infer", infer, methods=["POST"])])


if __name__ == "__main__":
    app = make_app(load_session(sys.argv[1]))
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
