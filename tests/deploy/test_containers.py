"""Both Containerfiles: a linter reads them, their steps are run, and the workbench starts as OpenShift AI starts it."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
import requests

from tests.conftest import BIN, ROOT
from tests.deploy.images import as_stranger, build_image, read_recipe, run_uv

NAMES = ("app", "workbench", "mlflow")
RECIPES = {name: read_recipe(name) for name in NAMES}
PINNED = re.compile(r"ubi9/python-312(-minimal)?@sha256:[0-9a-f]{64}")
PLATFORM = "x86_64-manylinux_2_34"  # glibc of UBI 9
PREFIX = "/notebook/credit-card-fraud/fraud-workbench"
# What OpenShift AI writes into the pod: one line an argument, empty quotes, JSON without blanks.
NOTEBOOK_ARGS = f"""--ServerApp.port=8888
--ServerApp.token=''
--ServerApp.password=''
--ServerApp.base_url={PREFIX}
--ServerApp.quit_button=False
--ServerApp.tornado_settings={{"user":"ann","hub_host":"https://console.example","hub_prefix":"/projects/credit-card-fraud"}}
"""


def find_tool(name: str) -> Path:
    """Find a tool of the tests' environment or of the machine; CI has it."""
    path = BIN / name if (BIN / name).exists() else shutil.which(name)
    if not path:
        reason = f"{name} not found: `make test` installs the packages of the tests"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)
    return Path(path)


def run_hadolint(path: Path) -> list[str]:
    """Return what the linter says about a Containerfile: the codes."""
    done = subprocess.run([find_tool("hadolint"), "--no-color", "--format=json", path], capture_output=True, text=True, timeout=60)  # fmt: skip
    return [fault["code"] for fault in json.loads(done.stdout)]


@pytest.mark.parametrize("name", NAMES)
def test_linter_has_nothing_to_say(name):
    assert run_hadolint(ROOT / "deploy" / name / "Containerfile") == []


def test_linter_would_say_it(tmp_path):
    (tmp_path / "Containerfile").write_text(
        "FROM ubi9:latest\nCOPY a b\nRUN cd /tmp && pip install x\nUSER root\n"
    )
    assert {"DL3007", "DL3045", "DL3003", "DL3042", "DL3013", "DL3002"} <= set(
        run_hadolint(tmp_path / "Containerfile")
    )


@pytest.mark.parametrize("name", NAMES)
def test_containerfile_is_for_openshift(name):
    recipe = RECIPES[name]
    assert recipe.base == "${BASE}" and PINNED.fullmatch(recipe.arguments["BASE"])
    assert {"PIP_INDEX_URL": "", "PIP_NO_INDEX": "", "PIP_FIND_LINKS": ""}.items() <= recipe.arguments.items()
    assert recipe.user.isdecimal() and recipe.user != "0", "a name would not pass runAsNonRoot"
    assert all((ROOT / source).exists() for sources, _ in recipe.copies for source in sources)
    installs = [run for run in recipe.runs if "pip install" in run]
    assert all("--no-cache-dir" in run and "--no-deps" in run for run in installs)
    assert "--require-hashes" in installs[0] and all("--no-build-isolation" in run for run in installs[1:])
    assert not any(word in run for run in recipe.runs for word in ("dnf", "chmod", "curl", "sudo"))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_copied_is_not_ignored(name):
    """One file tells every builder what stays out; a name in it must not be one that the build needs."""
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert {".git", ".venv", ".workshop", "**/__pycache__"} <= set(ignored)
    for source in (source for sources, _ in RECIPES[name].copies for source in sources):
        assert not any(fnmatch.fnmatch(source, rule) for rule in ignored), source


@pytest.mark.parametrize("name", NAMES)
def test_every_package_has_a_wheel_for_the_base_image(name, tmp_path):
    """Nothing is compiled in the build: the base has no compiler."""
    steps = [run for run in RECIPES[name].runs if ".lock" in run]
    locks = {lock.split("/")[-1] for run in steps for lock in re.findall(r"-r (\S+\.lock)", run)}
    copied = {
        source.split("/")[-1]: ROOT / source for sources, _ in RECIPES[name].copies for source in sources
    }
    run_uv("venv", "--quiet", tmp_path / "venv")
    target = (
        "--python",
        tmp_path / "venv" / "bin" / "python",
        "--python-version=3.12",
        f"--python-platform={PLATFORM}",
    )
    rules = (
        "--dry-run",
        "--require-hashes",
        "--no-deps",
        "--only-binary=:all:",
        "--target",
        tmp_path / "none",
    )
    run_uv(
        "pip", "install", *target, *rules, *(part for lock in sorted(locks) for part in ("-r", copied[lock]))
    )


# ---- the workbench, as it starts on a cluster


@pytest.fixture(scope="module")
def workbench():
    """The image of the workbench; its packages are links to those that are installed already."""
    with build_image(RECIPES["workbench"], ".") as built:
        build = built.venv.parent / "build"
        shutil.copytree(build / "opt/app-root/etc", built.venv / "etc", dirs_exist_ok=True)
        for path in (*build.rglob("*"), built.venv / "etc/jupyter/jupyter_server_config.json"):
            path.chmod(path.stat().st_mode | 0o044)
        yield built


def start(image, home: Path, log: Path, port: int) -> subprocess.Popen:
    """Run the command of the image as the stranger, with a home of its own."""
    build = image.venv.parent / "build"
    (command,) = image.recipe.command
    assert command == "start-workbench"
    arguments = NOTEBOOK_ARGS.replace("port=8888", f"port={port}") + "--ServerApp.ip=127.0.0.1\n"
    here = {
        "HOME": str(home),
        "WORKBENCH_SOURCE": str(build),
        "NOTEBOOK_ARGS": arguments,
        "NB_PREFIX": PREFIX,
    }
    with log.open("ab") as target:
        return subprocess.Popen(
            [build / "opt/app-root/bin" / command], env=image.environ() | here, cwd=home, stdout=target,
            stderr=subprocess.STDOUT, start_new_session=True, **as_stranger(),
        )  # fmt: skip


def wait_for_answer(url: str, process: subprocess.Popen, log: Path) -> dict:
    """Wait until JupyterLab answers, as the probes of the pod do."""
    deadline = time.monotonic() + 60
    while True:
        try:
            answer = requests.get(url, timeout=5)
            if answer.status_code == 200:
                return answer.json()
        except requests.ConnectionError:
            pass
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def test_workbench_starts_with_the_lessons_on_the_volume(workbench, tmp_path):
    home, log = workbench.scratch, tmp_path / "log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, lesson = f"http://127.0.0.1:{port}{PREFIX}/api", "nbs/00_core.ipynb"
    process = start(workbench, home, log, port)
    try:
        assert wait_for_answer(url, process, log)["version"]
        names = {
            item["name"]
            for item in requests.get(f"{url}/contents/fraud-demo/nbs", timeout=20).json()["content"]
        }
        assert {"00_core.ipynb", "04_training.ipynb", "07_app.ipynb"} <= names
        kernels = requests.get(f"{url}/kernelspecs", timeout=20).json()["kernelspecs"]
        assert kernels["python3"]["spec"]["argv"][0] in ("python", str(workbench.venv / "bin" / "python"))
    finally:
        process.terminate()
        process.wait(20)
    assert (home / "fraud-demo" / lesson).read_bytes() == (ROOT / lesson).read_bytes()
    assert "Traceback" not in log.read_text(), log.read_text()


def test_start_keeps_what_is_on_the_volume(tmp_path):
    """The second start keeps what was changed, and one after a start that broke off makes the copy whole."""
    source, home, programs = (tmp_path / name for name in ("source", "home", "bin"))
    for folder in (source / "nbs", home / "fraud-demo.part", programs):
        folder.mkdir(parents=True)
    (source / "nbs" / "lesson.ipynb").write_text("theirs")
    (home / "fraud-demo.part" / "half").write_text("of a start that broke off")
    (programs / "jupyter").write_text('#!/usr/bin/env bash\npwd\necho "$PYTHONPATH"\nprintf "%s\\n" "$@"\n')
    (programs / "jupyter").chmod(0o755)
    environ = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(home), "WORKBENCH_SOURCE": str(source)}
    lesson = home / "fraud-demo" / "nbs" / "lesson.ipynb"
    for expected in ("theirs", "mine"):
        command = [ROOT / "deploy" / "workbench" / "start.sh"]
        done = subprocess.run(command, env={**environ, "NOTEBOOK_ARGS": NOTEBOOK_ARGS}, capture_output=True, text=True, check=True, timeout=20)  # fmt: skip
        assert done.stdout.splitlines() == [
            str(home),
            str(home / "fraud-demo"),
            "lab",
            *NOTEBOOK_ARGS.split(),
        ]
        assert lesson.read_text() == expected and [path.name for path in home.iterdir()] == ["fraud-demo"]
        lesson.write_text("mine")


def test_the_library_is_read_from_the_volume(workbench):
    """So the lessons and the stack's folder are found beside it; all packages are there."""
    home = workbench.scratch
    if not (home / "fraud-demo").exists():
        shutil.copytree(workbench.venv.parent / "build", home / "fraud-demo")
    code = (
        "from fraud_demo.core import check_machine, find_project, load_settings\n"
        "print(find_project()); print(load_settings().home); print(check_machine(load_settings()).rows[1])"
    )
    printed = workbench.run(code, HOME=str(home), PYTHONPATH=str(home / "fraud-demo")).splitlines()
    assert printed == [
        f"{home}/fraud-demo",
        f"{home}/fraud-demo/.workshop",
        "('packages', 'all there', 'ok')",
    ]


def test_start_opens_the_port_of_the_containerfile(workbench):
    """Without an argument JupyterLab listens where the pod's Service looks for it, and asks for a token."""
    config = json.loads((workbench.venv / "etc/jupyter/jupyter_server_config.json").read_text())["ServerApp"]
    assert config == {"ip": "0.0.0.0", "port": int(workbench.recipe.port), "open_browser": False}
    assert "token" not in (ROOT / "deploy/workbench/start.sh").read_text()
