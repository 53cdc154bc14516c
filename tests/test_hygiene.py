"""What must hold for the notebooks, the modules exported from them, and the tree."""

from __future__ import annotations

import ast
import filecmp
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import papermill
import pytest
from markdown_it import MarkdownIt

from fraud_demo.workshop.checks import list_exercises
from fraud_demo.workshop.engine import read_answers
from tests.conftest import BIN, ROOT

NOTEBOOKS = sorted(path for path in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
LESSONS = [path for path in NOTEBOOKS if re.match(r"\d\d[a-z]?_", path.name)]
DETAILS = [path for path in NOTEBOOKS if path.parent.name == "details"]  # what a first reading skips
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
    here = re.search(r"\(\[([^]]+)\]\):::here", cells[3].source)
    assert here and f"accTitle: The lessons in a row, this one is {here[1]}" in cells[3].source, (
        "the diagram's text alternative"
    )
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


@pytest.mark.parametrize("path", DETAILS, ids=name_of)
def test_details_say_what_they_are(path):
    """A title, one quoted sentence, and the lesson that uses them; who reads on wants to see everything run."""
    cells = read_cells(path)
    assert cells[0].source == f"#| default_exp details.{path.stem}"
    assert re.fullmatch(r"# .+\n\n> .+\.", cells[1].source) and re.search(r"\bLesson \d\d", cells[2].source)
    lessons = "\n".join(cell.source for lesson in LESSONS for cell in read_cells(lesson))
    assert f"[details/{path.name}](details/{path.name})" in lessons, "a lesson leads here"
    assert sum(cell.source.count("assert ") for cell in cells if cell.cell_type == "code") >= 3


@pytest.mark.parametrize("path", [*LESSONS, *DETAILS], ids=name_of)
def test_lesson_avoids_belittling_words(path):
    prose = "\n".join(cell.source for cell in read_cells(path) if cell.cell_type == "markdown")
    assert not re.findall(r"\b(simply|just|obviously|easy|easily|trivial\w*)\b", prose, re.I)


@pytest.mark.parametrize("path", LESSONS, ids=name_of)
def test_lesson_opens_files_that_exist(path):
    code = "\n".join(cell.source for cell in read_cells(path) if cell.cell_type == "code")
    for chain in re.findall(r'find_project\(\)((?: / "[^"]+")+)', code):
        assert (ROOT / Path(*re.findall(r'"([^"]+)"', chain))).exists(), chain


# Public names that only a command, a pod or a later lesson calls, so that their own lesson shows no use.
CALLED_ELSEWHERE = {
    "core": {"bypass_proxy", "ServiceError", "LABEL"},  # the modules that open a connection; the data
    "details.app_process": {"main"},  # the app without a prediction log
    "details.prediction_log": {"run_app"},  # the command fraud-demo-app
    "details.checkup": {"check_cluster"},  # lesson 10, with a cluster
    "details.cluster_api": {"open_cluster"},  # lesson 10, with a cluster
    "details.monitor": {"run_monitor"},  # the command fraud-demo monitor
    "details.ray_start": {"start_ray"},  # lesson 09, with Ray
    "details.turns": {"list_turns"},  # lesson 05, with MLflow
    "details.trials": {"search_recipes"},  # lesson 09b, with MLflow
    "details.worker_group": {"train_on_workers"},  # lesson 09b, on the road of lesson 04
    "scale": {"main", "score_frame"},  # a pod; somebody's Spark
    "workers": {"train_on_ray"},  # the RayJob of deploy/
}


def list_public_names(source: str) -> set[str]:
    """Return the names that a cell defines for everybody."""
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("path", [*LESSONS, *DETAILS], ids=name_of)
def test_each_exported_name_is_used_in_its_lesson(path):
    cells = [cell.source for cell in read_cells(path) if cell.cell_type == "code"]
    names = set().union(*(list_public_names(c) for c in cells if c.startswith("#| export\n")))
    words = re.findall(r"\w+", "\n".join(cells))
    unused = {name for name in names if words.count(name) < 2}
    assert unused <= CALLED_ELSEWHERE.get(read_module_name(path), set())


@pytest.mark.parametrize("path", LESSONS, ids=name_of)
def test_exercises_have_their_three_cells_and_a_solution(path):
    cells = read_cells(path)
    number = number_of(path)
    at = next(place for place, cell in enumerate(cells) if "## Exercises" in cell.source)
    stubs, checks, tasks, minutes = [], [], [], 0
    for cell in cells[at:]:
        tags = cell.metadata.get("tags", [])
        if "exercise" in tags:
            stubs += [tag for tag in tags if tag.startswith("ex-")]
            assert "..." in cell.source
        elif "check" in tags:
            checks += re.findall(r'check\(\s*"(ex-[^"]+)"', cell.source)
        elif cell.cell_type == "markdown":
            found = re.findall(r"^\*\*(\d)\. .+?\*\* \((\d+) minutes?\)", cell.source, re.M)
            tasks += [f"ex-{number}-{place}" for place, _ in found]
            minutes += sum(int(length) for _, length in found)
    assert not any("exercise" in cell.metadata.get("tags", []) for cell in cells[:at])
    assert stubs == checks == tasks == list(list_exercises(number)) and len(stubs) >= 2
    card = re.search(r"\| \*\*Minutes\*\* \| \d+, and (\d+) for the exercises \|", cells[2].source)
    assert card and int(card[1]) == minutes, f"the tasks take {minutes} minutes"
    answers = read_answers(ROOT / "tests" / "solutions" / f"{path.stem}.py")
    for name in stubs:
        kinds = [answer.kind for answer in answers if answer.exercise == name]
        assert kinds.count("solution") == 1 and "wrong" in kinds
    assert {answer.exercise for answer in answers} == set(stubs)


def test_tables_of_lessons_have_the_minutes_of_the_cards():
    cards = {
        number_of(path): re.search(r"Minutes\*\* \| (\d+), and (\d+)", read_cells(path)[2].source)
        for path in LESSONS
    }
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| \[(\d\d[a-z]?) .*\| (\d+) \|$", readme, re.M))
    assert told == {number: str(int(card[1]) + int(card[2])) for number, card in cards.items()}
    plan = (ROOT / "INSTRUCTORS.md").read_text(encoding="utf-8")
    told = {
        m[1]: (m[2], m[3])
        for m in re.finditer(r"^\| \d?\d:\d\d \| (\d\d[a-z]?) .*\| (\d+) \+ (\d+) \|", plan, re.M)
    }
    assert told == {number: card.groups() for number, card in cards.items()}


SHOWN = {"details", "summary", "code", "i"}  # the HTML that a code host shows as JupyterLab does


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_prose_reads_the_same_on_a_code_host(path):
    """CommonMark with tables: no other HTML, and no line of a table outside of one."""
    parser = MarkdownIt("commonmark").enable("table")
    for cell in read_cells(path):
        blocks = parser.parse(cell.source) if cell.cell_type == "markdown" else []
        for part in [part for block in blocks for part in (block, *(block.children or []))]:
            if part.type.startswith("html_"):
                assert set(re.findall(r"</?(\w+)", part.content)) <= SHOWN, part.content
            assert part.type != "inline" or not re.search(r"^\|", part.content, re.M), part.content


PAGES = [path for path in ROOT.glob("*.md")] + [ROOT / "data" / "README.md", ROOT / "deploy" / "README.md"]


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=name_of)
def test_links_lead_somewhere(path):
    if path.suffix == ".md":
        text = path.read_text(encoding="utf-8")
    else:
        text = "\n".join(cell.source for cell in read_cells(path) if cell.cell_type == "markdown")
    base = ROOT if path.name == "index.ipynb" else path.parent
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://|mailto:", target):
            assert urlsplit(target).hostname, target
            continue
        name, _, anchor = target.partition("#")
        found = base / name if name else path
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.M)
            assert anchor in {
                re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings
            }


def test_spelling_is_american_and_right():
    done = subprocess.run([BIN / "codespell"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def measure_lesson(path: Path) -> list[str]:
    """Say where a lesson is longer than it should be."""
    cells, long = read_cells(path), []
    for cell in cells:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        if cell.cell_type == "code" and len(lines) > 40:
            long.append(
                f"a cell of {len(lines)} lines: {next(line for line in lines if '#|' not in line)[:60]}"
            )
        if cell.cell_type == "code":
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.FunctionDef) and node.body[-1].end_lineno - node.body[0].lineno >= 40:
                    length = node.body[-1].end_lineno - node.body[0].lineno + 1
                    long.append(f"a function of {length} lines: {node.name}")
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    if len(cells) > 75:
        long.append(f"{len(cells)} cells")
    if not 700 <= words <= 2000:
        long.append(f"{words} words of prose")
    return long


def test_long_lessons_are_listed():
    """Nobody is stopped by a length; the list is for who reads the tests' output."""
    long = {name_of(path): found for path in LESSONS if (found := measure_lesson(path))}
    for name, found in long.items():
        warnings.warn(f"{name}: {'; '.join(found)}", stacklevel=1)
    assert len(long) < len(LESSONS), "every lesson is too long"


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


def list_imports(module: str) -> set[str]:
    """Return the modules of ours that a module imports, for example `core`."""
    path, names = ROOT / "fraud_demo" / f"{module.replace('.', '/')}.py", set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            own = module.split(".")[:-1] if node.level == 1 else []
            names.add(".".join([*own, *([node.module] if node.module else [])]))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fraud_demo."):
            names.add(node.module.removeprefix("fraud_demo."))
    return names


def list_lessons_behind(module: str, lessons: set[str]) -> set[str]:
    """Return the lessons that a module imports, itself or through details."""
    found = set()
    for name in list_imports(module):
        assert name in lessons or name.startswith("details."), f"{module} imports {name}"
        found |= {name} if name in lessons else list_lessons_behind(name, lessons)
    return found


def test_lessons_import_only_lower_numbers():
    order = {read_module_name(path): number_of(path) for path in LESSONS}
    assert len(order) >= 8
    for module, number in order.items():
        imported = list_lessons_behind(module, set(order))
        assert all(order[name] < number for name in imported), f"{module} imports {imported}"
    for path in DETAILS:
        list_lessons_behind(read_module_name(path), set(order))


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
        if path.suffix in {".lock", ".png", ".npz"} or path == Path(__file__) or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        faults += [f"{name}: {match.group()}" for match in forbidden.finditer(text)]
    assert not faults


@pytest.mark.parametrize("path", LESSONS, ids=name_of)
def test_a_first_reading_finds_where_to_go_on(path):
    """A lesson that sends its reader past some code names the words of a later cell."""
    texts = [cell.source for cell in read_cells(path) if cell.cell_type == "markdown"]
    for place, text in enumerate(texts):
        for words in re.findall(r"On a first reading, run the cells down to \*([^*]+)\*", text):
            assert any(words in later for later in texts[place + 1 :]), words
