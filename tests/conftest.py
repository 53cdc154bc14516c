"""Fixtures that several kinds of tests share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PUBLISHED = "FRAUD_DEMO_REAL_CSV"
SETTING_NAMES = ("MLFLOW_TRACKING_URI", "MLFLOW_ROUTE", "INFERENCE_ENDPOINT", "AWS_S3_ENDPOINT", "AWS_S3_BUCKET",
                 "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "GRADIO_SERVER_PORT",
                 "GRADIO_ROOT_PATH", "NB_PREFIX", "JUPYTERHUB_SERVICE_PREFIX")  # fmt: skip

# How long an example takes says something about the machine and nothing about the code. In CI every run draws
# the same examples, so that a red run can be repeated; elsewhere each run looks at new ones.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("tests"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "tests")


def pytest_addoption(parser):
    """Let a person look at the lessons."""
    parser.addoption(
        "--pictures",
        action="store_true",
        default=bool(os.environ.get("CI")),
        help="keep pictures of each executed lesson; CI does",
    )


def pytest_configure():
    """Keep the settings of the person who runs the tests out of them."""
    for name in list(os.environ):
        if name in SETTING_NAMES or (name.startswith("FRAUD_DEMO_") and name != PUBLISHED):
            del os.environ[name]


def find_group(path: str) -> str:
    """Say what two processes must not tear apart: a file, and folders that share costly servers."""
    folder = path.split("/")[1]
    if folder == "browser" or path.endswith("/test_road.py"):
        return "road"
    return "engines" if folder == "engines" else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give each group to one process; with pytest 9.2 `--dist loadgroup` tears them (pytest-xdist issue 1386)."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return find_group(nodeid.split("::")[0])

    return Groups(config, log)


@pytest.fixture(scope="session")
def published_csv() -> Path:
    """The file with published rows; CI always has it."""
    path = os.environ.get(PUBLISHED)
    if not path:
        pytest.skip(f"{PUBLISHED} does not name a file of published rows")
    return Path(path).resolve(strict=True)


@lru_cache
def find_kubectl() -> str:
    """Find the kubectl of the tests' environment: its kustomize knows components, which Debian's own does not."""
    path = BIN / "kubectl"
    if not path.is_file():
        reason = "kubectl not found: on Linux `make test` installs it"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)
    return str(path)


class Stack:
    """A running local stack, driven through its command as a person drives it."""

    def __init__(self, home: Path):
        self.home = home
        self.environ = {**os.environ, "FRAUD_DEMO_HOME": str(home), "COLUMNS": "160"}

    def run(self, *arguments, check: bool = True, **environ) -> subprocess.CompletedProcess:
        """Run `fraud-demo` with arguments."""
        done = subprocess.run(
            [BIN / "fraud-demo", *map(str, arguments)], env={**self.environ, **environ}, cwd=ROOT,
            capture_output=True, text=True, timeout=1500, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{arguments}:\n{done.stdout}\n{done.stderr}"
        return done

    def status(self) -> dict:
        """Return what `fraud-demo status --json` prints."""
        return json.loads(self.run("status", "--json", check=False).stdout)

    def url(self, service: str) -> str:
        """Return the address of a service."""
        return self.status()["services"][service]["url"]


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    """The real stack in a folder of its own, stopped at the end."""
    running = Stack(tmp_path_factory.mktemp("stack"))
    with FileLock(
        tmp_path_factory.getbasetemp().parent / "up.lock"
    ):  # two at once might choose the same ports
        running.run("up")
    yield running
    running.run("down")


@pytest.fixture(scope="session")
def road(stack):
    """The stack after all lessons ran at full size; their executed copies are in `executed`."""
    stack.executed = stack.home / "executed"
    done = stack.run("lessons", "run", "--report", stack.executed, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    stack.report = done.stdout
    return stack
