"""Collect what a cluster without internet needs: the wheels of the locks, the library's own wheel and the project.

python deploy/workbench/bundle.py bundle        # for Python 3.12 on Linux, x86-64: what the images have
"""

from __future__ import annotations

import re
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements-bootstrap.lock", "requirements.lock")
NEWEST_GLIBC = 34  # of UBI 9


def describe_target(python: str, machine: str) -> dict[str, str]:
    """Return what the markers of the locks are compared with."""
    here = {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": machine}
    linux = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    return {**default_environment(), **linux, **here, "platform_python_implementation": "CPython", "implementation_name": "cpython"}  # fmt: skip


def choose_lines(text: str, target: dict[str, str]) -> list[str]:
    """Choose the requirements of a lock that the target needs, with their hashes and without their markers."""
    chosen = []
    for block in re.split(r"\n(?=[a-zA-Z0-9])", re.sub(r"^#.*\n", "", text, flags=re.M)):
        requirement, *hashes = [
            part.strip() for part in block.replace("\\\n", "\n").splitlines() if part.strip()
        ]
        needed = Requirement(requirement)
        if needed.marker is None or needed.marker.evaluate(target):
            chosen.append(" ".join([f"{needed.name}{needed.specifier}", *hashes]))
    return chosen


def list_platforms(machine: str) -> list[str]:
    """Name the platforms whose wheels the target runs, the newest first."""
    return [f"manylinux_2_{minor}_{machine}" for minor in range(NEWEST_GLIBC, 4, -1)] + [
        f"manylinux2014_{machine}",
        f"manylinux2010_{machine}",
        f"manylinux1_{machine}",
        f"linux_{machine}",
    ]


def run(*command: str | Path) -> None:
    """Run a command; end with its status when it fails."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def main() -> None:
    """Fill the folder."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="3.12", help="version of Python over there")
    parser.add_argument("--machine", default="x86_64", help="processor over there, or aarch64")
    options = parser.parse_args()
    wheels = options.folder.absolute() / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    target = describe_target(options.python, options.machine)
    lines = [
        line for lock in LOCKS for line in choose_lines((ROOT / lock).read_text(encoding="utf-8"), target)
    ]
    lock = options.folder / "requirements.lock"
    lock.write_text("\n".join(dict.fromkeys(lines)) + "\n", encoding="utf-8")
    platforms = [f"--platform={platform}" for platform in list_platforms(options.machine)]
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    there = (f"--python-version={options.python}", "--implementation=cp", *platforms)
    run(*pip, "download", "--require-hashes", "--no-deps", "--only-binary=:all:", *there, "--dest", wheels, "-r", lock.absolute())  # fmt: skip
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, ".")
    run(
        "git",
        "archive",
        "--prefix=fraud-demo/",
        "-o",
        options.folder.absolute() / "fraud-demo.tar.gz",
        "HEAD",
    )
    size = sum(path.stat().st_size for path in wheels.iterdir()) / 1e6
    print(f"{len(list(wheels.iterdir()))} wheels, {size:.0f} MB, in {options.folder}")


if __name__ == "__main__":
    main()
