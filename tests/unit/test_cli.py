"""The command's faces: help, exit codes, messages."""

from __future__ import annotations

import subprocess

import pytest
from typer.testing import CliRunner

from fraud_demo.workshop.cli import make_cli
from tests.conftest import BIN

COMMANDS = ("doctor", "up", "down", "status", "logs", "train", "promote", "rollback", "score", "app")


@pytest.mark.parametrize("command", [(name,) for name in COMMANDS] + [("lessons", "run")])
def test_help_shows_an_example(command):
    answer = CliRunner().invoke(make_cli(), [*command, "--help"])
    assert answer.exit_code == 0
    assert f"fraud-demo {' '.join(command)}" in answer.output.split("Example:")[1]


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
    import json

    done = run("status", "--json", FRAUD_DEMO_HOME=str(tmp_path))
    assert done.returncode == 1
    assert not any(service["healthy"] for service in json.loads(done.stdout)["services"].values())


def test_doctor_names_the_command_that_mends(tmp_path):
    done = run("doctor", FRAUD_DEMO_HOME=str(tmp_path))
    assert done.returncode == 1 and "run `fraud-demo up`" in done.stdout


def test_score_without_a_champion_names_what_is_missing(tmp_path):
    done = run("score", "x.csv", FRAUD_DEMO_HOME=str(tmp_path))
    assert done.returncode == 1 and "fraud-demo up" in done.stderr and "Traceback" not in done.stderr
