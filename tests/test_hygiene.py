"""What must hold for the notebooks, the modules exported from them, and the tree."""

from __future__ import annotations

import ast
import filecmp
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest

from tests.conftest import BIN, ROOT

NOTEBOOKS = sorted(path for path in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
LESSONS = [path for path in NOTEBOOKS if re.match(r"\d\d[a-z]?_", path.name)]
MODULES = sorted(path for path in (ROOT / "fraud_demo").rglob("*.py") if not path.name.startswith("_"))
HEAVY = ("tensorflow", "keras", "mlflow", "gradio", "ipywidgets", "IPython", "jupyterlab", "notebook", "nbdev", "fastcore",
         "execnb", "pandas", "sklearn", "seaborn", "matplotlib", "onnxruntime", "kserve", "boto3", "openvino", "ray",
         "pyspark")  # fmt: skip


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def number_of(lesson: Path) -> str:
    """Return a lesson's place on the road; a letter behind the digits marks a part that may be skipped."""
    return lesson.name.split("_")[0]


def read_cells(path: Path) -> list:
    return nbformat.read(path, as_version=4).cells


def read_module_name(path: Path) -> str:
    """Return the module that a notebook exports, for example `workshop.stack`."""
    return re.search(r"#\| default_exp (\S+)", read_cells(path)[0].source).group(1)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_notebook_is_clean(path):
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    kernel = notebook.metadata.kernelspec
    assert (kernel.name, kernel.language) == ("python3", "python"), "papermill needs both"
    assert "widgets" not in notebook.metadata, "saved widget state: clear the outputs"
    ids = [cell.id for cell in notebook.cells]
    assert len(ids) == len(set(ids))
    for cell in notebook.cells:
        assert not cell.get("outputs"), f"outputs in: {cell.source[:60]}"
        assert cell.get("execution_count") is None
        assert cell.source.strip(), "an empty cell"
    assert path.stat().st_size < 150_000


@pytest.mark.parametrize("path", LESSONS, ids=name_of)
def test_lesson_has_parameters(path):
    tagged = [cell for cell in read_cells(path) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1, "exactly one cell carries the tag `parameters`"
    lines = tagged[0].source.splitlines()
    assert 1 <= len(lines) <= 8
    for line in lines:
        assert re.fullmatch(r"\w+: \w+ = [^#]+  # .+", line), f"not `name: type = default  # help`: {line}"
    known = papermill.inspect_notebook(path)
    assert all(entry["inferred_type_name"] != "None" and entry["help"] for entry in known.values())
    assert len(known) == len(lines)


@pytest.mark.parametrize("path", LESSONS, ids=name_of)
def test_lesson_keeps_the_skeleton(path):
    cells = read_cells(path)
    assert cells[0].source.startswith("#| default_exp ")
    assert re.match(rf"# {number_of(path)} · .+\?\n\n> .+\.$", cells[1].source), (
        "a question and one quoted sentence"
    )
    for row in ("Minutes", "You need", "You build", "You will be able to"):
        assert f"| **{row}** |" in cells[2].source
    assert cells[3].source.startswith("## Where we are") and "```mermaid" in cells[3].source
    headings = [
        line
        for cell in cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("## ")
    ]
    assert headings[0] == "## Where we are"
    assert [h for h in headings if not re.match(r"## \d+\. ", h)] == [
        "## Where we are", "## When it goes wrong", "## Exercises", "## Recap"]  # fmt: skip
    numbers = [int(m.group(1)) for h in headings if (m := re.match(r"## (\d+)\. .+\?$", h))]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 3, (
        "numbered steps that ask a question"
    )
    recap = next(cell.source for cell in cells if cell.source.startswith("## Recap"))
    assert recap.count("\n- ") == 3, "three recall questions"
    assert sum(cell.source.count("assert ") for cell in cells if cell.cell_type == "code") >= 8


@pytest.mark.parametrize("path", LESSONS, ids=name_of)
def test_lesson_avoids_belittling_words(path):
    prose = "\n".join(cell.source for cell in read_cells(path) if cell.cell_type == "markdown")
    assert not re.findall(r"\b(simply|just|obviously|easy|easily|trivial\w*)\b", prose, re.I)


@pytest.mark.parametrize("path", LESSONS, ids=name_of)
def test_lesson_opens_files_that_exist(path):
    code = "\n".join(cell.source for cell in read_cells(path) if cell.cell_type == "code")
    for chain in re.findall(r'find_project\(\)((?: / "[^"]+")+)', code):
        assert (ROOT / Path(*re.findall(r'"([^"]+)"', chain))).exists(), chain


def test_modules_are_what_the_notebooks_export(tmp_path):
    for name in ("nbs", "fraud_demo", "settings.ini", "setup.py", "README.md"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
            )
        else:
            shutil.copy(source, tmp_path / name)
    for path in (tmp_path / "fraud_demo").rglob("*.py"):
        if path.name != "__init__.py":
            path.unlink()
    done = subprocess.run([BIN / "nbdev_export"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    exported = {path.relative_to(tmp_path) for path in (tmp_path / "fraud_demo").rglob("*.py")}
    committed = {path.relative_to(ROOT) for path in (ROOT / "fraud_demo").rglob("*.py")}
    assert exported == committed
    differing = [
        str(path) for path in sorted(exported) if not filecmp.cmp(tmp_path / path, ROOT / path, shallow=False)
    ]
    assert not differing, "edit the notebook, then `make prepare`"


def test_readme_is_what_the_index_gives():
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "readme.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def list_imports(path: Path) -> set[str]:
    """Return the modules of ours that a module imports, for example `core`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            own = ["workshop"] if path.parent.name == "workshop" and node.level == 1 else []
            names.add(".".join([*own, *([node.module] if node.module else [])]))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fraud_demo."):
            names.add(node.module.removeprefix("fraud_demo."))
    return names


def test_lessons_import_only_lower_numbers():
    order = {read_module_name(path): number_of(path) for path in LESSONS}
    assert len(order) >= 8
    for module, number in order.items():
        imported = list_imports(ROOT / "fraud_demo" / f"{module}.py")
        assert imported <= set(order), f"{module} imports {imported - set(order)}"
        assert all(order[name] < number for name in imported), f"{module} imports {imported}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_import_is_light(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    code = f"import {module}, sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_definition_is_described(path):
    missing = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not ast.get_docstring(node):
            missing.append(node.name)
        if isinstance(node, ast.ClassDef):
            missing += [f"{node.name}.{item.name}" for item in node.body
                        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_") and not ast.get_docstring(item)]  # fmt: skip
    assert not missing


def test_tree_names_no_machine_and_no_secret():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    faults = []
    forbidden = re.compile(
        r"(?<![\w.])/(?:root|home/\w+|Users/\w+|farm)/|AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|verify\s*=\s*False|pickle\.load"
    )
    for name in filter(None, listed):
        path = ROOT / name
        if path.suffix in {".lock", ".png"} or path == Path(__file__) or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        faults += [f"{name}: {match.group()}" for match in forbidden.finditer(text)]
    assert not faults
