"""The command's faces: help, exit codes, messages."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import typer
from typer.testing import CliRunner

from fraud_demo.core import FEATURE_NAMES, find_project
from fraud_demo.workshop import cli, lessons
from fraud_demo.workshop.cli import check_kernel, make_cli
from tests.conftest import BIN, ROOT

from .test_lessons import write_lesson
from .v2_double import V2Double

COMMANDS = ("doctor", "up", "down", "status", "logs", "train", "promote", "rollback", "score", "app")


CLUSTER_COMMANDS = ("connect", "serve", "endpoint", "rollback", "doctor")


@pytest.mark.parametrize(
    "command",
    [(name,) for name in COMMANDS] + [("lessons", "run")] + [("cluster", name) for name in CLUSTER_COMMANDS],
)
def test_help_shows_an_example(command):
    answer = CliRunner().invoke(make_cli(), [*command, "--help"])
    assert answer.exit_code == 0
    assert f"fraud-demo {' '.join(command)}" in answer.output.split("Example:")[1]


def find_command(words):
    """Return the command that words name, and the words behind it."""
    command = typer.main.get_command(make_cli())
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


PAGES = [*ROOT.glob("*.md"), *ROOT.glob("deploy/**/*.md"), *ROOT.glob("nbs/**/*.ipynb")]


def test_pages_name_commands_and_options_that_exist():
    seen = set()
    for page in PAGES:
        for line in re.findall(
            r"`fraud-demo ([a-z][^`]*)`|fraud-demo(?: |\\n)(cluster [^\n`\"]*)", page.read_text("utf-8")
        ):
            words = next(filter(None, line)).replace("\\n", " ").split()
            command, rest = find_command(words)
            assert command.name in words, f"{page.name}: fraud-demo {' '.join(words)}"
            known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
            unknown = {word.split("=")[0] for word in rest if word.startswith("-")} - known
            assert not unknown, f"{page.name}: fraud-demo {' '.join(words)}"
            seen.add(command.name)
    assert {"connect", "serve", "endpoint", "rollback", "doctor", "up", "score"} <= seen


def run(*arguments, **environ):
    return subprocess.run(
        [BIN / "fraud-demo", *arguments],
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_unknown_command_is_wrong_use():
    assert run("sreve").returncode == 2


def test_wrong_input_ends_in_three_sentences_and_2(tmp_path):
    done = run("lessons", "run", "42", FRAUD_DEMO_HOME=str(tmp_path))
    assert done.returncode == 2 and done.stdout == ""
    what, why, fix = done.stderr.splitlines()
    assert what == "There is no lesson 42." and "00, 01" in why and fix == "Choose among them."


def test_status_without_a_stack_is_1_and_json(tmp_path):
    done = run("status", "--json", FRAUD_DEMO_HOME=str(tmp_path))
    assert done.returncode == 1
    assert not any(service["healthy"] for service in json.loads(done.stdout)["services"].values())


def test_doctor_names_the_command_that_mends(tmp_path):
    done = run("doctor", FRAUD_DEMO_HOME=str(tmp_path))
    assert done.returncode == 1 and "run `fraud-demo up`" in done.stdout


def test_doctor_looks_for_the_kernel_in_a_workbench_only(tmp_path):
    python = str(find_project() / ".venv" / "bin" / "python")
    workbench = {"NB_PREFIX": "/notebook/credit-card-fraud/fraud-workbench", "HOME": str(tmp_path)}
    assert check_kernel({"HOME": str(tmp_path)}, python) == []
    assert check_kernel(workbench, "/opt/app-root/bin/python") == [("kernel", "python3", "ok")]
    missing = ("kernel", "not registered", "run `make workbench`")
    assert check_kernel(workbench, python) == [missing]
    for folder in (tmp_path / ".local/share/jupyter", tmp_path / "data"):
        spec = folder / "kernels" / "fraud-demo" / "kernel.json"
        spec.parent.mkdir(parents=True)
        spec.write_text(json.dumps({"argv": ["/opt/app-root/bin/python", "-m", "ipykernel_launcher"]}))
        place = workbench if folder.name == "jupyter" else {**workbench, "JUPYTER_DATA_DIR": str(folder)}
        assert check_kernel(place, python)[0][1:] == ("another Python: /opt/app-root/bin/python", missing[2])
        spec.write_text(json.dumps({"argv": [python + "3", "-m", "ipykernel_launcher"]}))
        assert check_kernel(place, python) == [("kernel", "fraud-demo", "ok")]


def test_score_without_a_champion_names_what_is_missing(tmp_path):
    done = run("score", "x.csv", FRAUD_DEMO_HOME=str(tmp_path))
    assert done.returncode == 1 and "fraud-demo up" in done.stderr and "Traceback" not in done.stderr


# --- score


@pytest.fixture
def double():
    server = V2Double()
    yield server
    server.close()


def write_rows(path, *lines, more=""):
    path.write_text("\n".join((",".join(FEATURE_NAMES) + more, *lines)) + "\n")
    return path


def score(*arguments, home):
    """Run `fraud-demo score` as the command does it."""
    code = "from fraud_demo.workshop.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "score", *map(str, arguments)],
        env={**os.environ, "FRAUD_DEMO_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_score_says_what_came_of_it(tmp_path, double):
    rows = write_rows(tmp_path / "rows.csv", "1,1,1,0,0,0,0", "15.7,176,8,1,0,0,1", "-1,1,1,0,0,0,0")
    process = score(rows, "--output", tmp_path / "out.csv", "--endpoint", double.url, home=tmp_path)
    told, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    first, second = told.splitlines()
    assert first.startswith(f"2 rows scored into {tmp_path / 'out.csv'}, 1 called fraud by version 1")
    assert second == f"1 rows have no score: {tmp_path / 'out.rejected.csv'} says why."
    process = score(rows, "--output", tmp_path / "out.csv", "--endpoint", double.url, "--json", home=tmp_path)
    found = json.loads(process.communicate(timeout=60)[0])
    assert (found["rows"], found["frauds"], found["rejected"], found["resumed_rows"]) == (3, 1, 1, 0)
    assert found["output"].endswith("out.csv") and found["rejected_list"].endswith("out.rejected.csv")
    assert found["model_version"] == "1" and 0 < found["threshold"] < 1


def test_score_has_exit_codes(tmp_path, double):
    rows = write_rows(tmp_path / "rows.csv", "1,1,1,0,0,0,0", "-1,1,1,0,0,0,0")
    for code, words, arguments in (
        (2, "row 1 (line 3)", [rows, "--endpoint", double.url, "--on-bad", "refuse"]),
        (2, "on-bad", [rows, "--endpoint", double.url, "--on-bad", "ignore"]),
        (2, "There is no file", [tmp_path / "none.csv", "--endpoint", double.url]),
        (1, "refused", [rows, "--endpoint", "127.0.0.1:9"]),
        (1, "fraud-demo up", [rows, "--endpoint", "auto"]),
        (1, "fraud-demo up", [rows]),
    ):
        process = score(*arguments, "--output", tmp_path / "out.csv", home=tmp_path)
        told, errors = process.communicate(timeout=60)
        assert process.returncode == code, (arguments, told, errors)
        assert words in errors and "Traceback" not in errors
        assert not (tmp_path / "out.csv").exists()


def test_score_goes_on_after_control_c(tmp_path, double):
    note = "a note that makes the file long " * 20
    rows = write_rows(tmp_path / "rows.csv", *[f"1,1,1,0,0,0,0,{note}"] * 50_000, more=",note")
    arguments = (rows, "--output", tmp_path / "out.parquet", "--endpoint", double.url)
    double.script = [0, 0, 0, 0, *[3] * 10]  # after two pieces the server takes its time
    process = score(*arguments, home=tmp_path)
    kept = tmp_path / ".out.parquet.scores"
    deadline = time.monotonic() + 60
    while not list(kept.glob("*.npy")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    double.script[:] = []
    process.send_signal(signal.SIGINT)
    told, errors = process.communicate(timeout=60)
    assert (
        process.returncode == 130
        and "The same command again asks only for the scores that are missing." in told
    ), (told, errors)
    assert "Traceback" not in errors
    process = score(*arguments, home=tmp_path)
    told, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and "rows had their scores before." in told, (told, errors)


@pytest.fixture
def small_lessons(tmp_path, monkeypatch):
    """Two lessons of a few cells in the place of the real ones; the second one fails with brackets in its words."""
    folder = tmp_path / "nbs"
    write_lesson(folder, "00_good", "number: int = 1  # any")
    words = "no column [a] in [/data/in.csv], run pip install 'fraud-demo[local]'"
    write_lesson(folder, "01_bad", "number: int = 1  # any", f"raise KeyError({words!r})")
    monkeypatch.setenv("FRAUD_DEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(cli, "list_lessons", lambda: lessons.list_lessons(folder))
    return words


def test_words_in_brackets_are_shown_as_they_are(small_lessons, tmp_path):
    answer = CliRunner().invoke(make_cli(), ["lessons", "run", "--report", str(tmp_path / "a [red]b[/red]")])
    assert answer.exit_code == 1, answer.output
    assert small_lessons in answer.output.replace("\n", " ") and "a [red]b[/red]" in answer.output


def test_who_stops_a_run_sees_what_has_run(small_lessons, tmp_path, monkeypatch):
    run = lessons.run_lesson

    def stop(lesson, *given, **options):
        if lesson.number == "01":
            raise KeyboardInterrupt
        return run(lesson, *given, **options)

    monkeypatch.setattr(lessons, "run_lesson", stop)
    answer = CliRunner().invoke(make_cli(), ["lessons", "run", "--report", str(tmp_path / "report")])
    assert answer.exit_code == 130 and "You stopped it" in answer.output and "What is good?" in answer.output
    assert "not run" in (tmp_path / "report" / "index.html").read_text()
    assert 'skipped="1"' in (tmp_path / "report" / "junit.xml").read_text()


def test_folders_and_choices_that_cannot_be_are_said(small_lessons, tmp_path):
    (tmp_path / "file").write_text("")
    for options, words in (
        (["--report", str(tmp_path / "file")], "Nothing can be written"),
        (["--report", str(tmp_path / "nbs")], "lessons themselves"),
        (["00", "--from", "01"], "nothing to run"),
    ):
        answer = CliRunner().invoke(make_cli(), ["lessons", "run", *options])
        assert words in str(answer.exception), answer.output
