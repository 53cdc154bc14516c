"""Build the package from settings.ini, the one source of its name, version and requirements."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

EXTRAS = ("local", "grpc", "data", "registry", "training", "app", "cluster", "scale", "workshop", "dev")

parser = ConfigParser(delimiters=["="])
parser.read(Path(__file__).with_name("settings.ini"), encoding="utf-8")
settings = parser["DEFAULT"]


def read_lines(key):
    """Return the non-empty lines of a setting."""
    return [line.strip() for line in settings[key].splitlines() if line.strip()]


def read_requirements(key):
    """Return the requirements under `key`, with `[extra]` lines replaced by that extra's own."""
    requirements = []
    for line in read_lines(key):
        if line.startswith("["):
            requirements += read_requirements(f"{line.strip('[]')}_requirements")
        else:
            requirements.append(line)
    return requirements


setup(
    name=settings["lib_name"],
    version=settings["version"],
    description=settings["description"],
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=settings["author"],
    license="Apache-2.0",
    keywords=settings["keywords"],
    python_requires=f">={settings['min_python']},<3.14",
    packages=find_packages(include=["fraud_demo", "fraud_demo.*"]),
    install_requires=read_requirements("requirements"),
    extras_require={name: read_requirements(f"{name}_requirements") for name in EXTRAS},
    entry_points={
        "console_scripts": read_lines("console_scripts"),
        "papermill.engine": ["workbook = fraud_demo.workshop.engine:WorkbookEngine"],
    },
)
