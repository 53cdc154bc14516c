"""Write README.md from nbs/index.ipynb; with --check, fail when the two differ."""

import sys
from pathlib import Path

from nbconvert import MarkdownExporter
from traitlets.config import Config

root = Path(__file__).resolve().parent.parent
config = Config()
config.MarkdownExporter.preprocessors = ["nbconvert.preprocessors.RegexRemovePreprocessor"]
config.RegexRemovePreprocessor.patterns = [r"\s*\Z", r"#\| hide"]
body, _ = MarkdownExporter(config=config).from_filename(root / "nbs" / "index.ipynb")
text = "<!-- Made from nbs/index.ipynb by `make prepare`; edit the notebook. -->\n\n" + body.strip() + "\n"
readme = root / "README.md"
if "--check" in sys.argv:
    sys.exit(
        0
        if readme.read_text(encoding="utf-8") == text
        else "README.md is not what nbs/index.ipynb gives: run `make prepare`."
    )
readme.write_text(text, encoding="utf-8")
