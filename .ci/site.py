"""Build the documentation site from executed lessons: .ci/site.py EXECUTED [TARGET], by default into _docs."""

import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from sphinx.cmd.build import build_main

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = """
project, html_title, copyright = "fraud-demo", "fraud-demo", "the fraud-demo developers"
extensions = ["myst_nb", "sphinxcontrib.mermaid"]
nb_execution_mode, nb_merge_streams = "off", True
myst_enable_extensions, myst_fence_as_directive = ["dollarmath"], ["mermaid"]
myst_heading_anchors = 3
html_theme, exclude_patterns, html_show_sphinx = "furo", ["README.md"], False
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header", "myst.xref_missing"]
"""
PAGES = {"README.md": "index.md", "INSTRUCTORS.md": "INSTRUCTORS.md", "CONTRIBUTING.md": "CONTRIBUTING.md",
         "CHANGELOG.md": "CHANGELOG.md", "data/README.md": "data/README.md", "deploy/README.md": "deploy/README.md"}  # fmt: skip
CONTENTS = """
```{{toctree}}
:hidden:
:caption: Lessons

{lessons}
```
```{{toctree}}
:hidden:
:caption: Details

{details}
```
```{{toctree}}
:hidden:
:caption: More

{more}
```
"""


def clean(notebook):
    """Take out what a page does not need: export marks, and feedback meant for programs."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = re.sub(r"^#\| \S.*\n?", "", cell.source)
    notebook.cells = [cell for cell in notebook.cells if cell.source.strip()]
    return notebook


def assemble(executed, folder):
    """Lay out the pages as the links of the README expect them; return the number of lessons."""
    lessons = {f"nbs/{path.stem}": path for path in sorted(executed.glob("[0-9][0-9]*_*.ipynb"))}
    details = {
        f"nbs/details/{path.stem}": path for path in sorted((ROOT / "nbs" / "details").glob("*.ipynb"))
    }
    (folder / "nbs" / "details").mkdir(parents=True)
    for name, path in (lessons | details).items():
        nbformat.write(clean(nbformat.read(path, as_version=4)), folder / f"{name}.ipynb")
    for source, target in PAGES.items():
        (folder / target).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / source, folder / target)
    shutil.copytree(ROOT / "nbs" / "images", folder / "nbs" / "images")
    shutil.copy(ROOT / "LICENSE", folder / "LICENSE")
    more = [target.removesuffix(".md") for target in PAGES.values() if target != "index.md"]
    contents = {"lessons": lessons, "details": details, "more": more}
    with (folder / "index.md").open("a", encoding="utf-8") as index:
        index.write(CONTENTS.format(**{key: "\n".join(names) for key, names in contents.items()}))
    (folder / "conf.py").write_text(SETTINGS, encoding="utf-8")
    return len(lessons)


def main():
    """Build the site; the exit code is Sphinx's."""
    executed, target = Path(sys.argv[1]), Path(*sys.argv[2:] or [ROOT / "_docs"])
    with tempfile.TemporaryDirectory() as folder:
        if not assemble(executed, Path(folder)):
            sys.exit(f"{executed} holds no executed lessons. Run `make workshop` first.")
        return build_main(["-q", "-b", "html", folder, str(target)])


if __name__ == "__main__":
    sys.exit(main())
