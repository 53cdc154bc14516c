"""A lesson that proves its checks: each stub, wrong answer and other right answer stands before the solution."""

from __future__ import annotations

import symtable
from collections.abc import Mapping
from pathlib import Path

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from fraud_demo.workshop.engine import Answer, read_answers
from tests.conftest import ROOT

SLOW = (
    "04",
    "06",
    "08",
    "09b",
)  # what no exercise of these needs takes minutes, and runs elsewhere in the tests
SOLUTIONS = ROOT / "tests" / "solutions"

STUB = """
import os as _os
from fraud_demo.workshop.checks import ExerciseError as _ExerciseError, Feedback as _Feedback
_feedback = {check}
assert isinstance(_feedback, _Feedback) and _feedback.state == "to do", _feedback
_os.environ["FRAUD_DEMO_STRICT_CHECKS"] = "1"
try:
    {check}
except _ExerciseError as _error:
    assert "to do" in _error.why
else:
    raise AssertionError("a strict run goes on with a stub")
finally:
    del _os.environ["FRAUD_DEMO_STRICT_CHECKS"]
"""
WRONG = """
_feedback = {check}
assert _feedback.state == "not yet" and {words!r} in _feedback.text, _feedback
"""
RIGHT = """
_feedback = {check}
assert _feedback.is_right, _feedback
"""

FORGET = """
import os as _os, sys as _sys
if "_environ" in _sys.__dict__:
    _os.environ.clear()
    _os.environ.update(_sys._environ)
_sys._environ = dict(_os.environ)
for _name in [name for name in _sys.modules if name.partition(".")[0] == "fraud_demo"]:
    del _sys.modules[_name]
get_ipython().run_line_magic("reset", "-f")
__spec__ = None  # processes that are started look for it
"""


class SharedKernel:
    """A kernel that runs one lesson after the other: it keeps the large packages, and forgets all that is ours."""

    def __init__(self, environ: Mapping[str, str], folder: Path):
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(
            env=dict(environ), cwd=str(folder), extra_arguments=["--HistoryManager.hist_file=:memory:"]
        )

    def run(self, notebook: nbformat.NotebookNode) -> None:
        """Run all cells; a cell that fails is an error with its text."""
        notebook.cells.insert(0, nbformat.v4.new_code_cell(FORGET))
        NotebookClient(notebook, km=self.manager, timeout=600).execute()

    def close(self) -> None:
        """End the kernel."""
        self.manager.shutdown_kernel(now=True)


def find_stubs(cells: list) -> dict[str, int]:
    """Return the place of each stub."""
    return {
        tag: place
        for place, cell in enumerate(cells)
        for tag in cell.metadata.get("tags", [])
        if "exercise" in cell.metadata["tags"] and tag.startswith("ex-")
    }


def find_check(cells: list, stub: int) -> str:
    """Return the source of the check that follows a stub."""
    return next(cell.source for cell in cells[stub:] if "check" in cell.metadata.get("tags", []))


def list_names(source: str) -> tuple[set[str], set[str]]:
    """Return the names that a cell makes, and those of the notebook that it reads."""
    top = symtable.symtable(source, "cell", "exec")
    made = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    used, tables = (
        {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced()},
        top.get_children(),
    )
    for table in tables:
        used |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
        tables += table.get_children()
    return made, used


def keep_needed(cells: list, answers: str) -> list:
    """Leave out the cells of a lesson that neither its exercises nor their answers need."""
    needed, kept = list_names(answers)[1], []
    for cell in (cell for cell in reversed(cells) if cell.cell_type == "code"):
        made, used = list_names(cell.source)
        if cell.source.startswith("#| export") or cell.metadata.get("tags") or made & needed:
            kept.append(cell)
            needed |= used
    return kept[::-1]


def prove(lesson: Path, proof: Path) -> None:
    """Write a lesson with all its answers."""
    notebook = nbformat.read(lesson, as_version=4)
    if lesson.stem.partition("_")[0] in SLOW:
        notebook.cells = keep_needed(notebook.cells, (SOLUTIONS / f"{lesson.stem}.py").read_text())
    cells, answers = notebook.cells, read_answers(SOLUTIONS / f"{lesson.stem}.py")
    for name, place in sorted(find_stubs(cells).items(), key=lambda item: -item[1]):
        own = [answer for answer in answers if answer.exercise == name]
        order = [a for a in own if a.kind == "wrong"] + [a for a in own if a.kind == "also"]
        order += [answer for answer in own if answer.kind == "solution"]
        expression = find_check(cells, place)
        proofs = [(cells[place].source, STUB.format(check=expression))]
        proofs += [(answer.source, judge(answer, expression)) for answer in order]
        cells[place : place + 1] = [nbformat.v4.new_code_cell(source) for pair in proofs for source in pair]
    nbformat.write(notebook, proof)


def judge(answer: Answer, expression: str) -> str:
    """Return the cell that follows an answer."""
    if answer.kind == "wrong":
        return WRONG.format(check=expression, words=answer.words)
    return RIGHT.format(check=expression)
