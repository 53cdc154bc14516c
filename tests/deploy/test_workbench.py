"""The workbench of a stock image, and the bundle for a cluster without internet, without either of them."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# What an image may set for the packages it brings.
STRANGE = {"PYTHONPATH": "/opt/image", "PYTHONHOME": "/opt/image", "PIP_USER": "1", "PIP_TARGET": "/opt/image",
           "PIP_PREFIX": "/opt/image", "PIP_REQUIRE_VIRTUALENV": "1"}  # fmt: skip


def run_make(*arguments: str, **environ: str) -> str:
    """Run make in the project and return what it printed."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(["make", "--no-print-directory", *arguments], cwd=ROOT, env=own | environ, capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_an_image_sets_for_its_own_packages_does_not_reach_ours():
    """With them pip installs into the image, or refuses, and Python reads the image's packages."""
    printed = run_make("--eval=show-environment: ; @env", "show-environment", **STRANGE, KEPT="1")
    names = {line.partition("=")[0] for line in printed.splitlines()}
    assert "KEPT" in names and not names & set(STRANGE)


def test_make_workbench_gives_another_jupyterlab_our_kernel(tmp_path):
    """The last two steps: the kernel appears in the home, and the doctor looks for it."""
    *_, register, doctor = run_make("-n", "workbench").strip().splitlines()
    assert doctor == ".venv/bin/fraud-demo doctor"
    program, *arguments = shlex.split(register)
    assert program == ".venv/bin/python"
    environ = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, *arguments], env=environ, check=True, capture_output=True, timeout=60)
    (path,) = tmp_path.rglob("kernel.json")
    assert path == tmp_path / ".local/share/jupyter/kernels/fraud-demo/kernel.json"
    spec = json.loads(path.read_text())
    assert spec["argv"][0] == sys.executable and spec["env"] == {"PYTHONPATH": ""}


@pytest.fixture(scope="module")
def bundle():
    """The script that `make bundle` runs."""
    spec = importlib.util.spec_from_file_location("bundle", ROOT / "deploy" / "workbench" / "bundle.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LOCK = """# computed
here==1.0 \\
    --hash=sha256:00 \\
    --hash=sha256:01
windows==2.0 ; sys_platform == 'win32' \\
    --hash=sha256:02
older==3.0 ; python_full_version < '3.12' \\
    --hash=sha256:03
newer==3.1 ; python_full_version >= '3.12' \\
    --hash=sha256:04
"""


def test_bundle_chooses_what_the_python_over_there_needs(bundle):
    """The markers are those of the cluster's Python, and not those of the one that runs."""
    lines = bundle.choose_lines(LOCK, bundle.describe_target("3.12", "x86_64"))
    assert lines == ["here==1.0 --hash=sha256:00 --hash=sha256:01", "newer==3.1 --hash=sha256:04"]
    older = bundle.choose_lines(LOCK, bundle.describe_target("3.11", "x86_64"))
    assert [line.split("==")[0] for line in older] == ["here", "older"]


@pytest.mark.parametrize(
    "machine, engine, other",
    [("x86_64", "tensorflow-cpu", "tensorflow"), ("aarch64", "tensorflow", "tensorflow-cpu")],
)
def test_bundle_reads_the_locks(bundle, machine, engine, other):
    target = bundle.describe_target("3.12", machine)
    lines = [line for lock in bundle.LOCKS for line in bundle.choose_lines((ROOT / lock).read_text(), target)]
    names = {line.split("==")[0] for line in lines}
    assert engine in names and other not in names and "jupyterlab" in names and "colorama" not in names
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==\S+( --hash=sha256:[0-9a-f]{64})+", line) for line in lines)
    assert f"manylinux_2_28_{machine}" in bundle.list_platforms(machine)


def test_a_step_that_fails_ends_the_bundle(bundle):
    with pytest.raises(SystemExit) as caught:
        bundle.run(sys.executable, "-c", "raise SystemExit(3)")
    assert caught.value.code == 3
