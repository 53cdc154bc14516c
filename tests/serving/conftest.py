"""A server with version 3 of a small model, for all tests of this folder."""

import pytest

from tests.serving.server import Server, make_onnx, publish, threshold_of, wait_until


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    publish(folder, "3")
    return folder


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    with Server(tmp_path_factory.mktemp("log") / "server.log", "--model-dir", folder) as server:
        wait_until(server.is_ready)
        yield server


@pytest.fixture(scope="module")
def session():
    import onnxruntime

    return onnxruntime.InferenceSession(make_onnx(threshold_of("3")), providers=["CPUExecutionProvider"])


@pytest.fixture
def grpc_client(server):
    import tritonclient.grpc

    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        yield client


@pytest.fixture(scope="module")
def stub(server):
    import grpc
    from tritonclient.grpc import service_pb2_grpc

    with grpc.insecure_channel(server.grpc_url) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)
