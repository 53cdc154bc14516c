"""The image of the app without a container engine: its lock, its package, its variables, a user id that nobody knows."""

from __future__ import annotations

import csv
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import requests

from fraud_demo.core import FEATURE_NAMES
from tests.conftest import BIN, ROOT
from tests.unit.v2_double import FRAUDULENT, V2Double, make_rows, run_model

USER = 1_000_650_000 + os.getpid() % 10_000  # as OpenShift chooses one: large, and in no list of users
LARGEST_MB = 700
NOT_THERE = {"tensorflow", "tensorflow-cpu", "keras", "mlflow", "mlflow-skinny", "torch", "scikit-learn", "onnx",
             "jupyterlab", "jupyter-server", "notebook", "ipykernel", "ipywidgets", "ipython", "nbdev", "fastcore",
             "papermill", "kubernetes", "boto3", "pytest"}  # fmt: skip


@dataclass
class Recipe:
    """What the Containerfile says."""

    env: dict[str, str] = field(default_factory=dict)  # of the running container
    command: list[str] = field(default_factory=list)  # what it runs
    copies: list[tuple[list[str], str]] = field(
        default_factory=list
    )  # files of the project, and where they go
    runs: list[str] = field(default_factory=list)  # commands of the build
    user: str = ""
    port: str = ""


def read_recipe() -> Recipe:
    """Read the Containerfile; an instruction that this test does not know is an error."""
    text = (ROOT / "deploy" / "app" / "Containerfile").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.M).replace("\\\n", " ")
    recipe = Recipe()
    for line in filter(None, map(str.strip, text.splitlines())):
        word, rest = line.split(None, 1)
        if word == "ENV":
            recipe.env |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        elif word == "CMD":
            recipe.command = json.loads(rest)
        elif word == "COPY":
            *sources, target = [part for part in rest.split() if not part.startswith("--")]
            recipe.copies.append((sources, target))
        elif word == "RUN":
            recipe.runs.append(rest)
        elif word == "USER":
            recipe.user = rest
        elif word == "EXPOSE":
            recipe.port = rest
        else:
            assert word in ("ARG", "FROM"), line
    return recipe


RECIPE = read_recipe()


def as_stranger() -> dict:
    """Return what makes `subprocess` run as that user of group 0; only root can do it."""
    return {"user": USER, "group": 0, "extra_groups": []} if os.getuid() == 0 else {}


def find_python() -> str:
    """Find a Python that the stranger may run: root's own may be in a folder that only root enters."""
    names = [sys._base_executable, *(shutil.which(f"python3.{minor}", path="/usr/bin:/usr/local/bin") for minor in (12, 13, 11))]  # fmt: skip
    code = "import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))"
    for name in filter(None, names):
        try:
            if (
                subprocess.run(
                    [name, "-c", code], **as_stranger(), capture_output=True, timeout=30
                ).returncode
                == 0
            ):
                return name
        except OSError:
            continue
    raise AssertionError("no Python from 3.11 to 3.13 that another user may run")


def run_uv(*arguments: str | Path) -> str:
    """Run uv and return what it printed."""
    done = subprocess.run([BIN / "uv", *map(str, arguments)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class Image:
    """What the build leaves, and a folder that stands for the container's /tmp."""

    venv: Path
    scratch: Path
    cwd: Path

    def environ(self, **more: str) -> dict[str, str]:
        """Return the variables of the container: those of the Containerfile, and nothing of this process."""
        env = {name: value.replace("/tmp", str(self.scratch)) for name, value in RECIPE.env.items()}
        return {"PATH": f"{self.venv}/bin:/usr/bin:/bin", **env, **more}

    def run(self, code: str, **more: str) -> str:
        """Run Python code in the container."""
        done = subprocess.run(
            [self.venv / "bin" / "python", "-c", code], env=self.environ(**more), cwd=self.cwd, **as_stranger(),
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def image():
    """Do what the Containerfile does: the two locks with their hashes, then the package alone."""
    with tempfile.TemporaryDirectory(prefix="app-image-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        built = Image(folder / "venv", folder / "scratch", folder / "cwd")
        for path in (built.scratch, built.cwd):
            path.mkdir(mode=0o755)
        if os.getuid() == 0:
            os.chown(built.scratch, USER, 0)
        for sources, target in RECIPE.copies:
            place = folder / "build" / target
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    place.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / source, place)
        locks = [
            folder / "build" / lock for run in RECIPE.runs for lock in re.findall(r"-r (\S+\.lock)", run)
        ]
        assert len(locks) == 2 and all("--require-hashes" in run for run in RECIPE.runs if ".lock" in run)
        run_uv("venv", "--quiet", "--python", find_python(), built.venv)
        python = ("--python", built.venv / "bin" / "python")
        run_uv(
            "pip",
            "sync",
            "--quiet",
            *python,
            "--require-hashes",
            "--compile-bytecode",
            "--link-mode=copy",
            *locks,
        )
        flags = ("--no-deps", "--no-build-isolation", "--compile-bytecode")
        run_uv("pip", "install", "--quiet", *python, *flags, folder / "build" / "package")
        shutil.rmtree(folder / "build")
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
