"""MLServer with a custom runtime for ONNX files, without worker processes; runs in an environment of its own.

python benchmarks/servers/mlserver_onnx.py model.onnx 8080 8081
"""

import asyncio
import sys

import onnxruntime
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import install_uvloop_event_loop


class OnnxModel(MLModel):
    """A model that ONNX Runtime computes."""

    async def load(self) -> bool:
        """Load the file."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = self.settings.parameters.uri
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Compute all outputs."""
        tensor = payload.inputs[0]
        rows = NumpyCodec.decode_input(tensor)
        results = self.session.run(self.names, {tensor.name: rows})
        outputs = [NumpyCodec.encode_output(*pair) for pair in zip(self.names, results, strict=True)]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)


async def serve(path: str, http_port: int, grpc_port: int) -> None:
    """Serve until a signal ends it, as `mlserver start` does."""
    settings = Settings(
        host="127.0.0.1",
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_endpoint=None,  # else it would listen on one more port
        parallel_workers=0,
        debug=False,
    )
    parameters = ModelParameters(uri=path, version="1")
    model = ModelSettings(name="credit-card-fraud", implementation=OnnxModel, parameters=parameters)
    await MLServer(settings).start([model])


if __name__ == "__main__":
    install_uvloop_event_loop()
    asyncio.run(serve(sys.argv[1], *map(int, sys.argv[2:4])))
