"""The guide names files, folders and objects that exist."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.conftest import ROOT
from tests.deploy.manifests import DEPLOY, OVERLAYS, build, render
from tests.deploy.test_references import COMPONENTS, MADE

PAGES = sorted(DEPLOY.rglob("*.md"))
GUIDE = (DEPLOY / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.S) for line in block.splitlines()]
KINDS = {"buildconfig": "BuildConfig", "deployment": "Deployment", "route": "Route", "service": "Service",
         "obc": "ObjectBucketClaim", "notebook": "Notebook"}  # fmt: skip


def make_anchor(heading: str) -> str:
    """Return the name that a page gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_work(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() and target.is_relative_to(ROOT), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.M)
            assert anchor in {make_anchor(heading) for heading in headings}, link


def test_guide_leads_to_each_overlay():
    assert all(f"(overlays/{name}/kustomization.yaml)" in GUIDE for name in OVERLAYS)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"deploy/overlays/[\w.-]+", GUIDE))))
def test_folders_of_the_commands_render(name):
    assert "kind:" in build(ROOT / name)


def test_steps_cover_each_object():
    """Step by step with the selectors of the guide, everything is applied, and in the right order."""
    steps = {}
    for line in COMMANDS:
        words = shlex.split(line)
        if words[1:3] == ["apply", "-k"]:
            chosen = re.findall(r"\b(?:in|,|=)\W*([a-z]+)|, ([a-z]+)", words[words.index("-l") + 1])
            names = [a or b for a, b in chosen]
            assert names and set(names) <= COMPONENTS, line
            steps.setdefault(words[3].rsplit("/", 1)[1], []).extend(names)
    for overlay, names in steps.items():
        found = [item["metadata"]["labels"]["app.kubernetes.io/component"] for item in render(overlay)]
        assert set(names) == set(found), overlay
        assert names[0] == "platform" and names[-1] == "app", "the namespaces come first"
    assert set(steps) == {"openshift-ai-3", "kserve"}


def test_objects_of_the_commands_are_there():
    """`oc get route NAME -n NAMESPACE` and the like name an object of the rendering."""
    there = {
        (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"])
        for overlay in OVERLAYS
        for item in render(overlay)
    }
    seen = 0
    for line in COMMANDS:
        words = shlex.split(line)
        if words[0] not in ("oc", "kubectl") or "-n" not in words:
            continue
        namespace, text = words[words.index("-n") + 1], " ".join(words[1:])
        named = re.findall(rf"\b({'|'.join(KINDS)})[/ ]([\w-]+)", text)
        for kind, name in named:
            assert (KINDS[kind], namespace, name) in there, line
        if words[1] == "create":
            kind = {"secret": "Secret", "configmap": "ConfigMap"}[words[2]]
            name = words[4] if kind == "Secret" else words[3]
            assert (namespace, kind, name) in MADE, line
            named = [(kind, name)]
        seen += len(named)
    assert seen > 8


def test_guide_names_files_that_exist():
    for name in re.findall(r"deploy/(?:[\w.-]+/)+[\w.-]+", GUIDE):
        assert (ROOT / name).exists(), name
