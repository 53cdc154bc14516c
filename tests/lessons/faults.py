"""Run lessons one after the other in one process until each stops: python -m tests.lessons.faults [--small-files] 05 06."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import resource
import signal
import sys

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from tests.conftest import ROOT


def run_until_it_stops(shell: InteractiveShell, number: str) -> dict | None:
    """Return the error that ends a lesson; None when it reaches its end."""
    [path] = (ROOT / "nbs").glob(f"{number}_*.ipynb")
    shell.reset()
    for place, cell in enumerate(nbformat.read(path, as_version=4).cells, start=1):
        if cell.cell_type != "code":
            continue
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            result = shell.run_cell(cell.source)
        if error := result.error_before_exec or result.error_in_exec:
            sentences = [getattr(error, name, "") for name in ("what", "why", "fix")]
            return {"cell": place, "type": type(error).__name__, "text": str(error), "sentences": sentences}
    return None


def main() -> None:
    """Print what became of each lesson as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--small-files", action="store_true", help="no file may grow beyond 16 kB, as on a full disk"
    )
    parser.add_argument("numbers", nargs="+")
    asked = parser.parse_args()
    os.chdir(ROOT / "nbs")
    in_memory = Config(
        HistoryManager={"hist_file": ":memory:"}
    )  # a full disk is not there for IPython's own file
    shell = InteractiveShell.instance(config=in_memory, history_length=0)
    if asked.small_files:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, 2**14))
    told = {number: run_until_it_stops(shell, number) for number in asked.numbers}
    print("\n" + json.dumps(told))
    sys.stdout.flush()
    os._exit(0)  # servers of lessons that stopped half-way must not hold this process


def read_told(output: str) -> dict:
    """Read the last line that `main` printed."""
    return json.loads(re.split(r"\n", output.strip())[-1])


if __name__ == "__main__":
    main()
