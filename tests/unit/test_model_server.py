"""The model server's own functions: options, pointers, stores, model files, and how a request is read."""

import contextlib
import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_demo.core import InputError, MissingStepError, ServiceError
from fraud_demo.workshop import model_server as ms
from tests.serving.server import NAME, find_ports, make_body, make_onnx, publish


def test_import_is_light():
    heavy = "kserve,onnxruntime,boto3,tritonclient,grpc,fastapi,uvicorn,pandas,nbdev,fastcore,orjson"
    code = (
        "import sys, fraud_demo.workshop.model_server;"
        f"print([m for m in {heavy!r}.split(',') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize(
    "wrong", [["--http-port", "0"], ["--http-port", "9", "--grpc-port", "9"], ["--port", "9"]]
)
def test_wrong_options_end_with_2(wrong):
    with pytest.raises(SystemExit, match="2"):
        ms.parse_arguments(wrong)


def test_a_thread_that_computes_gives_way_soon(tmp_path, monkeypatch):
    """Or whoever writes the log holds up a dozen requests of one row each time."""
    seen, before = [], sys.getswitchinterval()

    def serve(coroutine):
        coroutine.close()
        seen.append(sys.getswitchinterval())

    monkeypatch.setattr(ms.asyncio, "run", serve)
    http, grpc = find_ports(2)
    try:
        told = ms.main(["--model-dir", str(tmp_path), "--http-port", str(http), "--grpc-port", str(grpc)])
    finally:
        sys.setswitchinterval(before)
    assert (told, len(seen)) == (0, 1) and seen[0] <= 0.0005


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"version": "3"}',
        b'{"version": 3, "prefix": "models/m/version-3"}',
        b'{"version": "3b", "prefix": "models/m/version-3"}',
        b'{"version": "3\\n", "prefix": "models/m/version-3"}',
        b'{"version": "3", "prefix": 3}',
        b'{"version": "3", "prefix": "models/other/version-3"}',
        b'{"version": "3", "prefix": "models/m/../other/version-3"}',
        b'{"version": "3", "prefix": "/etc"}',
    ],
)
def test_bad_pointers_are_refused(content):
    with pytest.raises(InputError, match="pointer models/m/serving.json"):
        ms.read_pointer("m", content)


def test_pointer_prefix_may_carry_a_suffix():
    content = json.dumps({"version": "12", "prefix": "models/m/version-12-ab12"}).encode()
    assert ms.read_pointer("m", content) == ("12", "models/m/version-12-ab12/12/model.onnx")


def test_folder_store(tmp_path):
    store = ms.FolderStore(tmp_path / "none")
    with pytest.raises(ServiceError, match="There is no folder none"):
        store.list_names()
    publish(tmp_path, "1", name="b")
    publish(tmp_path, "1", name="a")
    (tmp_path / "models" / "unfinished").mkdir()
    store = ms.FolderStore(tmp_path)
    assert store.list_names() == ["a", "b"]
    with pytest.raises(MissingStepError, match="models/c/serving.json"):
        store.read("models/c/serving.json")
    with pytest.raises(ServiceError):
        store.read("models")


@pytest.mark.parametrize(
    "content, part",
    [
        (b"not a model", "INVALID_PROTOBUF"),
        (make_onnx()[:-40], "does not load"),
        (make_onnx(input_type="DOUBLE"), "one FP32 input"),
        (make_onnx(inputs=2), "one FP32 input"),
    ],
)
def test_a_file_that_cannot_serve_is_refused(content, part):
    with pytest.raises(InputError, match=part):
        ms.load_model(NAME, "1", content)


class ConstantSession:
    "A session whose answer is fixed."

    def __init__(self, result):
        self.result = np.array([[result]], np.float32)

    def run(self, names, feed):
        return [self.result for _ in names]


def make_model(result=0.5):
    outputs = (ms.Tensor("fraud_probability", "FP32", (-1, 1)), ms.Tensor("is_fraud", "INT64", (-1, 1)))
    return ms.ServedModel(
        NAME, "3", ConstantSession(result), ms.Tensor("dense_input", "FP32", (-1, 7)), outputs
    )


@pytest.mark.parametrize("result", [float("nan"), float("inf")])
def test_a_result_that_is_no_number_is_never_sent(result):
    with pytest.raises(InputError, match="gives no number"):
        ms.answer_rest(make_model(result), json.dumps(make_body()).encode(), None)


def test_a_failed_load_does_not_touch_the_served_model(tmp_path):
    publish(tmp_path, "1")
    repository = ms.Repository(ms.FolderStore(tmp_path))
    repository.load(NAME)
    before = repository.models
    publish(tmp_path, "2", b"broken")
    with pytest.raises(InputError):
        repository.load(NAME)
    assert repository.models is before and repository.find(NAME).version == "1"


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "", ".hidden", "a b", "a\n"])
def test_names_that_could_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="not a model name"):
        ms.Repository(ms.FolderStore(tmp_path)).load(name)


numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)


json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    where=st.sampled_from(["", "inputs", "outputs", "id", "parameters"]),
    field=st.sampled_from(["name", "shape", "datatype", "data", "parameters"]),
    value=json_values,
)
def test_any_json_is_answered_or_refused(where, field, value):
    body = make_body()
    if where:
        body[where] = value
    else:
        body["inputs"][0][field] = value
    with contextlib.suppress(InputError):
        ms.answer_rest(make_model(), json.dumps(body).encode(), None)


@settings(max_examples=150, deadline=None)
@given(body=st.binary(max_size=60), size=st.none() | st.text(max_size=4) | st.integers(-1, 70).map(str))
def test_any_bytes_are_answered_or_refused(body, size):
    with contextlib.suppress(InputError):
        ms.answer_rest(make_model(), body, size)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=7, max_size=7),
        min_size=1,
        max_size=5,
    )
)
def test_values_arrive_to_the_bit(rows):
    expected = np.array(rows, np.float32)
    shape = list(expected.shape)
    flat = make_body([value for row in rows for value in row], shape)
    head = make_body(shape=shape)
    del head["inputs"][0]["data"]
    head["inputs"][0]["parameters"] = {"binary_data_size": expected.nbytes}
    head = json.dumps(head).encode()
    forms = [
        (json.dumps(make_body(rows, shape)).encode(), None),
        (json.dumps(flat).encode(), None),
        (head + expected.tobytes(), str(len(head))),
    ]
    for body, size in forms:
        request = ms.read_rest_request(body, size, make_model())
        assert request.rows.dtype == np.float32 and request.rows.tobytes() == expected.tobytes()


def test_one_bad_model_holds_up_no_other(tmp_path, onnx_path, caplog):
    """On a shared store the model of one seat must not take away those of all others."""
    root = tmp_path / "store"

    def place(name, prefix=None, content=None):
        folder = root / "models" / name
        (folder / "version-1" / "1").mkdir(parents=True)
        pointer = {"version": "1", "prefix": prefix or f"models/{name}/version-1"}
        (folder / "serving.json").write_bytes(content or json.dumps(pointer).encode())
        return folder / "version-1" / "1" / "model.onnx"

    place("aaa").mkdir()  # a folder in the place of the file
    place("bbb", prefix="models/bbb/\0")
    place("ccc", prefix="models/ccc/" + "x" * 900)
    place("ddd", content=b"[" * 100_000)
    place("eee", prefix="models/eee/\ud800")
    place("zzz").write_bytes(onnx_path.read_bytes())
    store = ms.FolderStore(root)
    repository = ms.Repository(store)
    looking = threading.Thread(target=ms.load_published, args=(repository, 0.05))
    looking.start()
    end = time.monotonic() + 30
    while "zzz" not in repository.models and time.monotonic() < end:
        time.sleep(0.02)
    repository.is_stopped.set()
    looking.join(10)
    assert list(repository.models) == ["zzz"]
    assert all(name in caplog.text for name in ("aaa", "bbb", "ccc", "ddd", "eee"))


def test_a_store_that_refuses_one_model_is_asked_again_for_that_one():
    class Store:
        asked = []

        def list_names(self):
            return ["aaa", "zzz"]

    class Repository:
        store, is_stopped, models = Store(), threading.Event(), []

        def load(self, name):
            Store.asked.append(name)
            if name == "aaa" and Store.asked.count("aaa") < 3:
                raise ServiceError(
                    "The object store refused.", "It answered AccessDenied.", "Look at the key."
                )
            self.models.append(name)

    ms.load_published(Repository(), wait_s=0.01)
    assert Repository.models == ["zzz", "aaa"] and Store.asked == ["aaa", "zzz", "aaa", "aaa"]
