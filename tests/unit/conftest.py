"""A V2 server of our own making, and a small model in this process, for several files of this folder."""

import pytest

from fraud_demo.serving import LocalScorer
from tests.unit.v2_double import V2Double, save_onnx


@pytest.fixture
def double():
    server = V2Double()
    yield server
    server.close()


@pytest.fixture(scope="module")
def onnx_path(tmp_path_factory):
    return save_onnx(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="module")
def local(onnx_path):
    return LocalScorer(onnx_path, "1")
