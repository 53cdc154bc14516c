"""The image of the app without a container engine: its lock, its package, its variables, a user id that nobody knows."""

from __future__ import annotations

import csv
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import requests

from fraud_demo.core import FEATURE_NAMES
from tests.conftest import ROOT
from tests.deploy.images import USER, as_stranger, build_image, read_recipe, run_uv
from tests.unit.v2_double import FRAUDULENT, V2Double, make_rows, run_model

LARGEST_MB = 700
NOT_THERE = {"tensorflow", "tensorflow-cpu", "keras", "mlflow", "mlflow-skinny", "torch", "scikit-learn", "onnx",
             "jupyterlab", "jupyter-server", "notebook", "ipykernel", "ipywidgets", "ipython", "nbdev", "fastcore",
             "papermill", "kubernetes", "boto3", "pytest"}  # fmt: skip


RECIPE = read_recipe("app")


@pytest.fixture(scope="module")
def image():
    """The image of the app; its build leaves nothing but the environment."""
    with build_image(RECIPE, "package", "--compile-bytecode", "--link-mode=copy") as built:
        shutil.rmtree(built.venv.parent / "build")
        yield built


@pytest.fixture(scope="module")
def double():
    server = V2Double(version="7")
    yield server
    server.close()


def list_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the size and the time of each file."""
    stats = {path: path.lstat() for path in folder.rglob("*") if not path.is_dir()}
    return {str(path): (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}


def find_files_of_stranger() -> set[str]:
    """Find what the stranger's user id owns in the folders where everybody may write."""
    found = set()
    for place in ("/tmp", "/var/tmp", "/dev/shm"):
        for folder, folders, files in os.walk(place, onerror=lambda error: None):
            for path in (os.path.join(folder, name) for name in (*folders, *files)):
                try:
                    if os.lstat(path).st_uid == USER:
                        found.add(path)
                except OSError:  # gone meanwhile
                    continue
    return found


def test_containerfile_is_for_openshift():
    assert RECIPE.user.isdecimal() and RECIPE.user != "0", "a name would not pass runAsNonRoot"
    assert RECIPE.env["GRADIO_SERVER_NAME"] == "0.0.0.0" and RECIPE.env["GRADIO_SERVER_PORT"] == RECIPE.port
    assert RECIPE.command == ["fraud-demo-app"]
    copied = [source for sources, _ in RECIPE.copies for source in sources]
    assert all((ROOT / source).exists() for source in copied)


def test_nothing_heavy_is_installed(image):
    listed = json.loads(run_uv("pip", "list", "--format=json", "--python", image.venv / "bin" / "python"))
    names = {entry["name"] for entry in listed}
    assert {"fraud-demo", "gradio", "pyarrow", "pandas"} <= names
    assert not names & NOT_THERE
    files = [path for path in image.venv.rglob("*") if path.is_file() and not path.is_symlink()]
    size = sum(path.stat().st_size for path in files) / 1e6
    print(f"the environment of the image: {len(names)} packages, {size:.0f} MB")
    assert 100 < size < LARGEST_MB


def test_stranger_is_nobody_and_writes_only_where_the_containerfile_says(image):
    if os.getuid() == 0:
        with pytest.raises(KeyError):
            pwd.getpwuid(USER)
        assert image.run("import os; print(os.getuid(), os.getgid())").split() == [str(USER), "0"]
        for folder in (image.cwd, image.venv, Path.home()):
            code = f"import os; print(os.access({str(folder)!r}, os.W_OK))"
            assert image.run(code) == "False\n"
    assert image.run("import os; print(os.path.expanduser('~'))").strip() == str(image.scratch)


def test_app_of_the_image_starts_answers_and_ends(image, double):
    from gradio_client import Client

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    here = {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": port, "INFERENCE_ENDPOINT": double.url}
    installed, url = list_files(image.venv), f"http://127.0.0.1:{port}"
    command = [str(image.venv / "bin" / RECIPE.command[0]), *RECIPE.command[1:]]
    started = time.monotonic()
    process = subprocess.Popen(
        command, env=image.environ(**here), cwd=image.cwd, **as_stranger(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        while True:
            try:
                if requests.get(f"{url}/readyz", timeout=3).status_code == 200:
                    break
            except requests.exceptions.ConnectionError:
                pass
            assert process.poll() is None and time.monotonic() - started < 60, process.communicate(timeout=5)[
                0
            ]
            time.sleep(0.05)
        seconds = time.monotonic() - started
        print(f"/readyz after {seconds:.1f} s")
        answer = Client(url, verbose=False, analytics_enabled=False).predict(*FRAUDULENT, api_name="/predict")
        page = requests.get(url, timeout=10)
        process.send_signal(signal.SIGTERM)
        log, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert seconds < 30
    expected = run_model(np.array([FRAUDULENT], dtype=np.float32))["fraud_probability"][0, 0]
    assert answer["fraud_probability"] == float(expected) and answer["model_version"] == "7"
    assert page.status_code == 200
    assert process.returncode == 0 and "Traceback" not in log, log
    assert list_files(image.venv) == installed and not list_files(image.cwd)
    outside = {path for path in find_files_of_stranger() if not path.startswith(str(image.scratch))}
    assert not outside


def test_image_scores_a_file(image, double):
    """The app scores files of its users; what that takes is in the lock."""
    rows = make_rows(200, seed=3)
    path = image.scratch / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(FEATURE_NAMES)
        writer.writerows(rows.tolist())
    code = (
        "from fraud_demo.batch import score_file; from fraud_demo.serving import make_scorer\n"
        f"score_file({str(path)!r}, {str(image.scratch / 'scored.csv')!r}, make_scorer())"
    )
    image.run(code, INFERENCE_ENDPOINT=double.url)
    with (image.scratch / "scored.csv").open() as file:
        scored = [float(row["fraud_probability"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(scored, run_model(rows)["fraud_probability"][:, 0], rtol=1e-6)
