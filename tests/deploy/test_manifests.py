"""Each overlay renders, and each object is one that a cluster would take: every field known, every type right."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from functools import lru_cache

import jsonschema
import kubernetes_validate
import kubernetes_validate.utils
import pytest

from tests.conftest import ROOT, find_kubectl
from tests.deploy.manifests import DEPLOY, OVERLAYS, find, render, tell, walk

SCHEMAS = ROOT / "tests" / "deploy" / "schemas"
KUBERNETES = ("1.31", "1.35")  # of OpenShift 4.18 and of a new cluster
kubernetes_validate.utils.schema_contents = lru_cache(
    kubernetes_validate.utils.schema_contents
)  # it reads a MB a call
OWN = {path.stem for path in SCHEMAS.glob("*.json")}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
METADATA = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$"},
        "namespace": {"type": "string"},
        "labels": TEXTS,
        "annotations": TEXTS,
    },
}
# Maps whose keys a user chooses; everywhere else a key that is not known is a mistake.
FREE = {"labels", "annotations", "matchLabels", "data", "requests", "limits", "selector", "additionalConfig"}
EXPECTED = {
    "openshift-ai-3": {"Namespace", "ServiceAccount", "Role", "RoleBinding", "ConfigMap", "Secret", "Service",
                       "PersistentVolumeClaim", "Deployment", "StatefulSet", "BuildConfig", "ImageStream", "Notebook",
                       "NetworkPolicy", "ObjectBucketClaim", "Route", "InferenceService", "ServingRuntime",
                       "PrometheusRule"},
    "openshift-ai-2-modelmesh": {"Namespace", "Role", "RoleBinding", "ConfigMap", "Service", "PersistentVolumeClaim",
                                 "Deployment", "StatefulSet", "BuildConfig", "ImageStream", "Notebook", "NetworkPolicy",
                                 "ObjectBucketClaim", "Route", "InferenceService", "ServingRuntime"},
    "kserve": {"Namespace", "Service", "Deployment", "StatefulSet", "NetworkPolicy", "InferenceService",
               "ServingRuntime", "ServiceMonitor", "PrometheusRule"},
}  # fmt: skip


@lru_cache
def make_validator(kind: str) -> jsonschema.Draft7Validator:
    """Read the schema of a kind of our own collection."""
    schema = json.loads((SCHEMAS / f"{kind}.json").read_text(encoding="utf-8"))
    schema["properties"]["metadata"] = METADATA
    return jsonschema.Draft7Validator(schema)


def list_faults(item: dict, versions: tuple[str, ...] = KUBERNETES) -> list[str]:
    """Say what is wrong with an object; a kind that nobody knows is a fault, too."""
    if item["kind"] in OWN:
        return [error.message for error in make_validator(item["kind"]).iter_errors(item)]
    faults = []
    for version in versions:
        try:
            kubernetes_validate.validate(item, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            faults.append(f"{version}: {error}")
    return faults


def list_samples() -> dict[str, list[dict]]:
    """Return all objects by kind, each that differs once."""
    samples = {}
    for overlay in OVERLAYS:
        for item in render(overlay):
            known = samples.setdefault(item["kind"], [])
            if item not in known:
                known.append(item)
    return samples


def list_fields(item: dict) -> list[tuple]:
    """List the paths of all fields whose names the schema knows."""
    paths = [path for path, _ in walk(item) if path and isinstance(path[-1], str)]
    return [path for path in paths if not FREE & set(path[:-1]) and path[0] not in ("apiVersion", "kind")]


def damage(item: dict, path: tuple, how: str) -> dict:
    """Return a copy with a misspelled field, or with a value of the wrong type in it."""
    made = copy.deepcopy(item)
    part = made
    for key in path[:-1]:
        part = part[key]
    if how == "name":
        part[path[-1] + "z"] = part.pop(path[-1])
    else:
        part[path[-1]] = 0.5 if isinstance(part[path[-1]], list) else [0.5]
    return made


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_has_what_it_is_for(overlay):
    objects = render(overlay)
    assert {item["kind"] for item in objects} == EXPECTED[overlay]
    names = [(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in objects]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_objects_fit_their_schemas(overlay):
    faults = {tell(item): found for item in render(overlay) if (found := list_faults(item))}
    assert not faults


@pytest.mark.parametrize("kind", sorted(set.union(*EXPECTED.values())))
@pytest.mark.parametrize("how", ["name", "type"])
def test_planted_fault_is_found(kind, how):
    """Each field of each object in turn, at every depth; once for fields of the same place."""
    seen = set()
    for item in list_samples()[kind]:
        for path in list_fields(item):
            place = tuple(key for key in path if isinstance(key, str))
            if place not in seen:
                seen.add(place)
                assert list_faults(damage(item, path, how), KUBERNETES[-1:]), f"{kind}: {'.'.join(place)}"
    assert len(seen) > 2


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("Route", "mlflow-server", ("spec", "tls", "termination"), "egde"),
        ("Route", "mlflow-server", ("spec", "tls", "insecureEdgeTerminationPolicy"), "redirect"),
        ("BuildConfig", "mlflow-server", ("spec", "source", "git"), {"ref": "main"}),
        ("ServingRuntime", "credit-card-fraud", ("spec", "containers", 0, "ports", 0, "containerPort"), "x"),
        ("InferenceService", "credit-card-fraud", ("spec", "predictor", "model", "modelFormat"), {}),
    ],
)
def test_wrong_value_is_found(kind, name, path, value):
    item = find(render("openshift-ai-3"), kind, name)
    part = item
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    assert list_faults(item)


def test_unknown_kind_is_found():
    assert list_faults(
        {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceServce", "metadata": {"name": "a"}}
    )


@pytest.mark.parametrize(
    ("group", "kind"),
    [
        ("serving.kserve.io/v1beta1", "InferenceService"),
        ("serving.kserve.io/v1alpha1", "ServingRuntime"),
        ("kubeflow.org/v1", "Notebook"),
        ("route.openshift.io/v1", "Route"),
        ("build.openshift.io/v1", "BuildConfig"),
        ("image.openshift.io/v1", "ImageStream"),
        ("objectbucket.io/v1alpha1", "ObjectBucketClaim"),
        ("monitoring.coreos.com/v1", "ServiceMonitor"),
        ("monitoring.coreos.com/v1", "PrometheusRule"),
    ],
)
def test_kinds_of_the_platform_have_their_group(group, kind):
    """The schemas do not say which group and version they are of."""
    assert {item["apiVersion"] for item in list_samples()[kind]} == {group}
    assert kind in OWN


def test_parameters_reach_the_objects(tmp_path):
    """Another value in the file changes what is rendered, and each value is used somewhere."""
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    file = tmp_path / "deploy" / "parameters" / "parameters.env"
    lines = file.read_text(encoding="utf-8").splitlines()
    names = [line.split("=", 1)[0] for line in lines if line and not line.startswith("#")]
    marks = {name: f"mark{number}" for number, name in enumerate(names, 11)}
    file.write_text("".join(f"{name}={mark}\n" for name, mark in marks.items()), encoding="utf-8")
    used = ""
    for overlay in OVERLAYS:
        folder = tmp_path / "deploy" / "overlays" / overlay
        done = subprocess.run(
            [find_kubectl(), "kustomize", folder], capture_output=True, text=True, timeout=60, check=True
        )
        used += done.stdout
        assert f"version-{marks['MODEL_VERSION']}\n" in done.stdout, "each overlay serves this version"
    assert {name for name, mark in marks.items() if mark not in used} == set()


def test_each_parameter_is_explained():
    """Each value, or each group of values, follows a comment."""
    text = (DEPLOY / "parameters" / "parameters.env").read_text(encoding="utf-8")
    for group in text.strip().split("\n\n")[1:]:
        lines = group.splitlines()
        assert lines[0].startswith("# ") and not lines[-1].startswith("#"), group
