"""The manifests of deploy/, rendered by the real kubectl, and the ways through them that the tests share."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import yaml

from tests.conftest import ROOT, find_kubectl

DEPLOY = ROOT / "deploy"
OVERLAYS = tuple(sorted(path.name for path in (DEPLOY / "overlays").iterdir()))
OPENSHIFT = tuple(name for name in OVERLAYS if name.startswith("openshift"))
PROJECT, MLFLOW = "credit-card-fraud", "mlflow"


@lru_cache
def build(
    folder: Path,  # a folder with a kustomization
) -> str:  # YAML
    """Render a kustomization as `kubectl apply -k` would."""
    done = subprocess.run(
        [find_kubectl(), "kustomize", folder], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, f"kustomize warns: {done.stderr}"
    return done.stdout


@lru_cache
def read(
    overlay: str,  # name of a folder of deploy/overlays
) -> str:  # JSON: read much faster than YAML
    """Render an overlay once."""
    return json.dumps(list(yaml.safe_load_all(build(DEPLOY / "overlays" / overlay))))


def render(
    overlay: str,  # name of a folder of deploy/overlays
) -> list[dict]:  # fresh objects: a test may change them
    """Return the objects of an overlay."""
    return json.loads(read(overlay))


def tell(
    item: dict,  # an object
) -> str:  # for example Deployment/mlflow-server
    """Name an object in a message."""
    return f"{item['kind']}/{item['metadata']['name']}"


def find(
    objects: list[dict],  # of an overlay
    kind: str,  # exact
    name: str,  # exact
) -> dict:
    """Return the one object of that kind and name."""
    [found] = [item for item in objects if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


def list_pods(
    objects: list[dict],  # of an overlay
) -> list[tuple[dict, dict, dict]]:  # object, labels of its pods, specification of its pods
    """Return everything that describes pods; a serving runtime holds the containers itself."""
    found = []
    for item in objects:
        if item["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job", "Notebook"):
            template = item["spec"]["template"]
            found.append((item, template.get("metadata", {}).get("labels", {}), template["spec"]))
        elif item["kind"] == "ServingRuntime":
            found.append((item, {}, item["spec"]))
    return found


def walk(
    value: object,  # a part of an object
    path: tuple = (),  # keys and indexes that lead to it
) -> Iterator[tuple[tuple, object]]:
    """Give each part of an object with its path, the outer ones first."""
    yield path, value
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in pairs:
        yield from walk(part, (*path, key))
