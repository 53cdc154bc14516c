"""Triton with its Python backend and ONNX Runtime, started by PyTriton; runs in an environment of its own.

python benchmarks/servers/triton_onnx.py model.onnx 8080 8081
"""

import signal
import sys

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

OUTPUTS = {"fraud_probability": np.float32, "is_fraud": np.int64, "threshold": np.float32}


def make_function(path: str):
    """Load the ONNX file and make the function that Triton calls with a batch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    @batch
    def infer(dense_input):
        results = session.run(list(OUTPUTS), {"dense_input": dense_input})
        return dict(zip(OUTPUTS, results, strict=True))

    return infer


def serve(path: str, http_port: int, grpc_port: int) -> None:
    """Serve until a signal ends it."""
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=http_port,
        grpc_address="127.0.0.1",
        grpc_port=grpc_port,
        allow_metrics=False,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="credit-card-fraud",
            infer_func=make_function(path),
            inputs=[Tensor(name="dense_input", dtype=np.float32, shape=(7,))],
            outputs=[Tensor(name=name, dtype=dtype, shape=(1,)) for name, dtype in OUTPUTS.items()],
            config=ModelConfig(max_batch_size=16_384),
        )
        triton.serve()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # PyTriton tidies up after this one only
    serve(sys.argv[1], *map(int, sys.argv[2:4]))
