"""The manifests of the training: fields, the rules for pods, and the names by which the workers find each other."""

from __future__ import annotations

import ast
import copy
import re
import shlex

import pytest
import yaml

from fraud_demo import workers
from fraud_demo.core import load_settings
from fraud_demo.discovery import IN_CLUSTER_URL
from fraud_demo.workers import read_cluster_spec
from tests.deploy.manifests import DEPLOY, PROJECT, build, find, tell, walk
from tests.deploy.test_manifests import damage, list_faults, list_fields
from tests.deploy.test_names import read_variables
from tests.deploy.test_policy import list_broken_rules

FOLDERS = ("training", "training-ray")
ENDS = {"livenessProbe", "readinessProbe"}  # nobody sends requests to it, and it ends by itself when it fails


def render(folder: str) -> list[dict]:
    """Return the objects of a folder."""
    return list(yaml.safe_load_all(build(DEPLOY / "jobs" / folder)))


def list_templates(objects: list[dict]) -> list[dict]:
    """Return the templates of all pods, those of a Ray cluster included."""
    return [part for item in objects for path, part in walk(item) if path and path[-1] == "template"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_objects_fit_their_schemas(folder):
    assert {tell(item): found for item in render(folder) if (found := list_faults(item))} == {}
    assert {item["metadata"]["namespace"] for item in render(folder)} == {PROJECT}


@pytest.mark.parametrize("how", ["name", "type"])
@pytest.mark.parametrize(("folder", "kind"), [("training", "Job"), ("training-ray", "RayJob")])
def test_planted_fault_is_found(folder, kind, how):
    [item] = [item for item in render(folder) if item["kind"] == kind]
    places = {tuple(key for key in path if isinstance(key, str)): path for path in list_fields(item)}
    for path in places.values():
        # what starts Ray is free text, as labels are
        if "rayStartParams" not in path[:-1]:
            assert list_faults(damage(item, path, how), ("1.35",)), path
    assert len(places) > 40


def test_ray_job_is_of_its_group():
    assert find(render("training-ray"), "RayJob", "fraud-training-ray")["apiVersion"] == "ray.io/v1"


@pytest.mark.parametrize("folder", FOLDERS)
def test_pods_keep_the_rules(folder):
    templates = list_templates(render(folder))
    assert len(templates) == {"training": 1, "training-ray": 2}[folder]
    for template in templates:
        assert list_broken_rules(template["spec"]) == ENDS
        spoiled = copy.deepcopy(template["spec"])
        spoiled["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False
        assert "readOnlyRootFilesystem" in list_broken_rules(spoiled)


@pytest.mark.parametrize("folder", FOLDERS)
def test_references_are_there(folder):
    objects = render(folder)
    claims = {item["metadata"]["name"] for item in objects if item["kind"] == "PersistentVolumeClaim"}
    for template in list_templates(objects):
        [container] = template["spec"]["containers"]
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        assert volumes["checkpoints"]["persistentVolumeClaim"]["claimName"] in claims
        values, mounts = read_variables(container), {m["mountPath"] for m in container["volumeMounts"]}
        assert {values["HOME"], values["FRAUD_DEMO_HOME"], values["FRAUD_DEMO_CHECKPOINTS"]} <= mounts
        assert load_settings(values).mlflow_route == IN_CLUSTER_URL
        assert values["FRAUD_DEMO_CHECKPOINTS"] != values["FRAUD_DEMO_HOME"], (
            "pods must not share their caches"
        )
        assert container["image"].startswith("registry.example.com/fraud-workbench")
    for item in objects:
        if item["kind"] == "PersistentVolumeClaim":
            assert item["spec"]["accessModes"] == ["ReadWriteMany"], "the pods may be on several nodes"


def test_pods_of_the_job_find_each_other():
    """What `read_cluster_spec` makes of the variables are the names that Kubernetes gives to the pods."""
    objects = render("training")
    job, service = find(objects, "Job", "fraud-training"), find(objects, "Service", "fraud-training")
    spec, template = job["spec"], job["spec"]["template"]
    [container] = template["spec"]["containers"]
    values = read_variables(container)
    n = int(values["FRAUD_DEMO_WORKERS"])
    assert spec["completionMode"] == "Indexed" and spec["completions"] == spec["parallelism"] == n > 1
    port = service["spec"]["ports"][0]["port"]
    names = tuple(f"{job['metadata']['name']}-{i}.{service['metadata']['name']}:{port}" for i in range(n))
    for i in range(n):
        cluster = read_cluster_spec({**values, "JOB_COMPLETION_INDEX": str(i)})
        assert cluster.addresses == names and cluster.index == i
    assert port == container["ports"][0]["containerPort"]
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"] is True
    assert template["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert template["spec"]["restartPolicy"] == "OnFailure"


def find_call(words: list[str]) -> ast.Call:
    """Return the call of `python -c 'from fraud_demo.workers import NAME; NAME(...)'`."""
    assert words[:2] == ["python", "-c"] and len(words) == 3
    imported, called = ast.parse(words[2]).body
    assert imported.module == "fraud_demo.workers" and called.value.func.id == imported.names[0].name
    assert callable(getattr(workers, called.value.func.id))
    return called.value


def test_commands_call_what_the_library_has():
    [container] = find(render("training"), "Job", "fraud-training")["spec"]["template"]["spec"]["containers"]
    assert find_call(container["command"]).func.id == "train_in_job"
    spec = find(render("training-ray"), "RayJob", "fraud-training-ray")["spec"]
    call = find_call(shlex.split(spec["entrypoint"]))
    [group] = spec["rayClusterSpec"]["workerGroupSpecs"]
    assert call.func.id == "train_on_ray"
    assert call.args[0].value == group["replicas"] == group["minReplicas"] == group["maxReplicas"]
    assert spec["shutdownAfterJobFinishes"] is True


def test_guide_says_how_to_start_it():
    guide = (DEPLOY / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"oc create -k deploy/jobs/(training[\w-]*)", guide)) == set(FOLDERS)
