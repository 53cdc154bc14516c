"""No secret in any file, nor in any object of the history: detect-secrets reads every line that was ever committed."""

from __future__ import annotations

import importlib.util
import os
import random
import re
import shutil
import string
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from tests.conftest import ROOT

HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}( \\)?")  # of a lock file: thousands of lines, no secret
WHY_FALSE = {  # why something that is found is no secret
    "planted by a test that searches for it": ("planted-password", "planted-s3-secret"),
    "of an object store that a test starts": ("test-secret",),
    "a setting of a test": (
        "marked-secret",
        "hidden-key",
        "key of another cloud",
        "turned-over",
        "secret-key-7",
    ),
    "the name of a kind of object": ("Secret",),
    "the answer to a question about that kind": ("connect_store", "the manifests"),
    "part of an address in a test, and nobody listens there": ("s3cret", "pw", "hunter2", "secret"),
}
FALSE = {value for values in WHY_FALSE.values() for value in values}
PLAIN = (
    ".py",
    ".ipynb",
    ".md",
    ".txt",
    ".lock",
    ".csv",
)  # read line by line; other files have a form of their own


@pytest.fixture(autouse=True)
def tools():
    """Skip where a tool is missing; CI has both."""
    missing = [name for name in ("git",) if not shutil.which(name)]
    missing += [] if importlib.util.find_spec("detect_secrets") else ["detect-secrets"]
    if missing:
        reason = f"{', '.join(missing)} not found: `make test` installs the packages of the tests"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)


def run_git(root: Path, *arguments: str, text: str = "") -> bytes:
    """Run git in a folder and return what it printed."""
    done = subprocess.run(["git", "-C", root, *arguments], input=text.encode(), capture_output=True, check=True, timeout=60)  # fmt: skip
    return done.stdout


def read_objects(root: Path):
    """Give the name and the content of each file and each commit that any branch or tag reaches."""
    names = {}
    for line in run_git(root, "rev-list", "--objects", "--all").decode().splitlines():
        number, _, path = line.partition(" ")
        names.setdefault(number, path)
    stream, place = run_git(root, "cat-file", "--batch", text="\n".join(names)), 0
    while place < len(stream):
        end = stream.index(b"\n", place)
        number, kind, size = stream[place:end].decode().split()
        content = stream[end + 1 : end + 1 + int(size)]
        place = end + 2 + int(size)
        if kind == "blob":
            yield names[number], content
        elif kind in ("commit", "tag"):
            yield f"message of {number[:10]}.txt", content


def read_files(root: Path):
    """Give the name and the content of each file that is tracked, or is about to be."""
    listed = run_git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").decode()
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            yield name, (root / name).read_bytes()


def scan(root: Path, folder: Path) -> dict[str, tuple[str, str]]:
    """Return what looks like a secret: its value, to its kind and the first file that has it."""
    from detect_secrets.core.secrets_collection import SecretsCollection
    from detect_secrets.settings import default_settings, get_plugins

    lines, found = defaultdict(dict), {}  # kind of file, to its different lines and where they are
    for source in (read_files(root), read_objects(root)):
        for name, content in source:
            if b"\0" in content:
                continue
            places = lines[Path(name).suffix]
            for line in map(str.strip, content.decode("utf-8", "replace").splitlines()):
                if line and line not in places and not HASH.fullmatch(line):
                    places[line] = name
    with default_settings():
        detectors = get_plugins()
        for suffix, places in lines.items():
            path, several = folder / f"lines{suffix}", list(places)
            if suffix in PLAIN:  # the tool's own rules are slow: they see the lines that a detector stops at
                several = [
                    line for line in several if any(d.analyze_line(path.name, line, 1) for d in detectors)
                ]
            path.write_text("\n".join(several))
            secrets = SecretsCollection()
            secrets.scan_file(str(path))
            for _, secret in secrets:
                found[secret.secret_value] = secret.type, places[several[secret.line_number - 1]]
    return found


def test_no_secret_in_files_and_history(tmp_path):
    assert len(list(read_files(ROOT))) > 100 and len(list(read_objects(ROOT))) > 100
    found = scan(ROOT, tmp_path)
    real = {
        place: kind for value, (kind, place) in found.items() if value not in FALSE
    }  # the values stay unsaid
    assert not real
    if run_git(ROOT, "rev-parse", "--is-shallow-repository").strip() == b"false":
        assert set(found) >= FALSE, "these are no longer found: take them off the list"


def draw(count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    """Draw letters that look like a key."""
    return "".join(random.Random(count).choices(alphabet, k=count))


PLANTED = {  # made here, so that this file holds none
    "key.py": f"AWS_ID = 'AKIA{draw(16, string.ascii_uppercase)}'",
    "server.key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "notes.md": f"see ghp_{draw(36)}",
    "deploy.yaml": f"  AWS_SECRET_ACCESS_KEY: {draw(40)}",
    "lesson.ipynb": f'    "database = \\"postgresql://ann:{draw(14)}@db.example/mlflow\\"\\n",',
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_key_is_found_although_it_was_removed(name, tmp_path):
    """It is in one commit, and the next one takes it away."""
    root, folder = tmp_path / "project", tmp_path / "lines"
    root.mkdir()
    folder.mkdir()
    who = ("-c", "user.name=test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false")
    run_git(root, "init", "--quiet")
    for content in (PLANTED[name], "nothing here"):
        (root / name).write_text(f"first line\n{content}\n")
        run_git(root, "add", name)
        run_git(root, *who, "commit", "--quiet", "--message", "Change a file")
    found = scan(root, folder)
    assert [place for _, place in found.values()] == [name] * len(found) and found


def test_a_key_in_a_commit_message_is_found(tmp_path):
    root, folder = tmp_path / "project", tmp_path / "lines"
    root.mkdir()
    folder.mkdir()
    who = ("-c", "user.name=test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false")
    run_git(root, "init", "--quiet")
    run_git(root, *who, "commit", "--quiet", "--allow-empty", "--message", "Use " + PLANTED["key.py"])
    assert [place.split()[0] for _, place in scan(root, folder).values()] == ["message"]


def test_a_clean_project_is_clean(tmp_path):
    root, folder = tmp_path / "project", tmp_path / "lines"
    root.mkdir()
    folder.mkdir()
    run_git(root, "init", "--quiet")
    (root / "a.py").write_text("token = read_token()\npassword = None\n")
    assert scan(root, folder) == {}
