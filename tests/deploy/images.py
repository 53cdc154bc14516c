"""Images without a container engine: what a Containerfile says is done in a folder, as a user id that nobody knows."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import BIN, ROOT

USER = 1_000_650_000 + os.getpid() % 10_000  # as OpenShift chooses one: large, and in no list of users


@dataclass
class Recipe:
    """What the Containerfile says."""

    env: dict[str, str] = field(default_factory=dict)  # of the running container
    command: list[str] = field(default_factory=list)  # what it runs
    copies: list[tuple[list[str], str]] = field(
        default_factory=list
    )  # files of the project, and where they go
    runs: list[str] = field(default_factory=list)  # commands of the build
    arguments: dict[str, str] = field(
        default_factory=dict
    )  # what a build may change, and what it is otherwise
    base: str = ""  # image that it starts from
    folder: str = ""  # where the last command runs
    user: str = ""
    port: str = ""


def read_recipe(name: str) -> Recipe:
    """Read the Containerfile of an image; an instruction that is not known here is an error."""
    text = (ROOT / "deploy" / name / "Containerfile").read_text(encoding="utf-8")
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
            assert recipe.folder and "--chown=1001:0" in rest, line
            recipe.copies.append((sources, target))
        elif word == "RUN":
            recipe.runs.append(rest)
        elif word == "USER":
            recipe.user = rest
        elif word == "EXPOSE":
            recipe.port = rest
        elif word == "WORKDIR":
            recipe.folder = rest
        elif word == "ARG":
            name, _, default = rest.partition("=")
            recipe.arguments[name] = default
        else:
            assert word == "FROM" and not recipe.base, line
            recipe.base = rest
    return recipe


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

    recipe: Recipe
    venv: Path
    scratch: Path
    cwd: Path

    def environ(self, **more: str) -> dict[str, str]:
        """Return the variables of the container: those of the Containerfile, and nothing of this process."""
        env = {name: value.replace("/tmp", str(self.scratch)) for name, value in self.recipe.env.items()}
        return {"PATH": f"{self.venv}/bin:/usr/bin:/bin", **env, **more}

    def run(self, code: str, **more: str) -> str:
        """Run Python code in the container."""
        done = subprocess.run(
            [self.venv / "bin" / "python", "-c", code], env=self.environ(**more), cwd=self.cwd, **as_stranger(),
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


def copy_sources(recipe: Recipe, folder: Path) -> None:
    """Copy what the Containerfile copies; targets of the image's own root come below the folder as well."""
    for sources, target in recipe.copies:
        place = folder / target.lstrip("/")
        for source in sources:
            path = ROOT / source
            if path.is_dir():
                shutil.copytree(
                    path, place, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
                )
            else:
                is_folder = target.endswith("/")
                (place if is_folder else place.parent).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)


@contextmanager
def build_image(recipe: Recipe, package: str, *options: str) -> Iterator[Image]:
    """Do what the Containerfile does: the two locks with their hashes, then the package alone."""
    with tempfile.TemporaryDirectory(prefix="image-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        built = Image(recipe, folder / "venv", folder / "scratch", folder / "cwd")
        for path in (built.scratch, built.cwd):
            path.mkdir(mode=0o755)
        if os.getuid() == 0:
            os.chown(built.scratch, USER, 0)
        copy_sources(recipe, folder / "build")
        steps = [run for run in recipe.runs if ".lock" in run]
        locks = [folder / "build" / lock for run in steps for lock in re.findall(r"-r (\S+\.lock)", run)]
        assert len(locks) == 2 and all("--require-hashes" in run for run in steps)
        run_uv("venv", "--quiet", "--python", find_python(), built.venv)
        python = ("--python", built.venv / "bin" / "python")
        run_uv("pip", "sync", "--quiet", *python, "--require-hashes", *options, *locks)
        flags = ("--no-deps", "--no-build-isolation", "--compile-bytecode")
        run_uv("pip", "install", "--quiet", *python, *flags, folder / "build" / package)
        yield built
