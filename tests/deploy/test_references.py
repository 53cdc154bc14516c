"""What one object names in another is there: labels, selectors, ports, volumes, keys, images, accounts."""

from __future__ import annotations

import json
import re

import pytest

from tests.deploy.manifests import MLFLOW, OVERLAYS, PROJECT, find, list_pods, render, tell, walk

COMPONENTS = {"platform", "workbench", "serving", "app", "monitoring"}
# What a command, a controller or the cluster makes: namespace, kind and name to who makes it.
MADE = {
    (MLFLOW, "Secret", "mlflow-postgresql"): "a command of the guide",
    (MLFLOW, "Secret", "mlflow-server"): "the bucket claim, or a command of the guide",
    (MLFLOW, "ConfigMap", "mlflow-server"): "the bucket claim, or a command of the guide",
    (MLFLOW, "ConfigMap", "openshift-service-ca.crt"): "OpenShift, in each namespace",
    (PROJECT, "ConfigMap", "openshift-service-ca.crt"): "OpenShift, in each namespace",
    (PROJECT, "Secret", "credit-card-fraud-models"): "fraud-demo cluster connect",
    (PROJECT, "ServiceAccount", "fraud-workbench"): "the notebook controller",
}
# Labels of pods that KServe makes.
MADE_PODS = [
    {"serving.kserve.io/inferenceservice": "credit-card-fraud"},
    {"modelmesh-service": "modelmesh-serving"},
]
FIELDS = {"secretKeyRef": "Secret", "secretRef": "Secret", "configMapKeyRef": "ConfigMap", "configMapRef": "ConfigMap",
          "configMap": "ConfigMap", "persistentVolumeClaim": "PersistentVolumeClaim", "secret": "Secret"}  # fmt: skip


@pytest.fixture(params=OVERLAYS)
def objects(request) -> list[dict]:
    """The objects of each overlay."""
    return render(request.param)


def has(labels: dict, selector: dict) -> bool:
    """Tell whether labels match a selector; an empty one matches all."""
    return selector.items() <= labels.items()


def list_ports(pod: dict) -> set:
    """Return the names and numbers of the ports of a pod."""
    ports = [port for container in pod["containers"] for port in container.get("ports", [])]
    return {port.get("name") for port in ports} | {port["containerPort"] for port in ports}


def list_references(objects: list[dict]) -> set[tuple[str, str, str]]:
    """Return namespace, kind and name of everything that pods and bindings need."""
    found = set()
    for item, _, pod in list_pods(objects):
        namespace = item["metadata"]["namespace"]
        for path, part in walk(pod):
            kind = FIELDS.get(path[-1]) if path else None
            if kind and isinstance(part, dict):
                found.add((namespace, kind, part.get("name") or part.get("claimName") or part["secretName"]))
        if "serviceAccountName" in pod:
            found.add((namespace, "ServiceAccount", pod["serviceAccountName"]))
    for item in objects:
        if item["kind"] == "RoleBinding":
            found.add((item["metadata"]["namespace"], item["roleRef"]["kind"], item["roleRef"]["name"]))
            found |= {(s["namespace"], s["kind"], s["name"]) for s in item["subjects"]}
        account = item["metadata"].get("annotations", {}).get("kubernetes.io/service-account.name")
        if account:
            found.add((item["metadata"]["namespace"], "ServiceAccount", account))
    return found


def list_there(objects: list[dict]) -> set[tuple[str, str, str]]:
    """Return namespace, kind and name of everything that is rendered."""
    return {(i["metadata"].get("namespace"), i["kind"], i["metadata"]["name"]) for i in objects}


def test_references_are_there(objects):
    needed, there = list_references(objects), list_there(objects)
    assert needed - there - set(MADE) == set()
    assert len(needed) > 2


def test_missing_reference_is_found():
    objects = render("openshift-ai-3")
    for kind, name in (("ConfigMap", "fraud-workbench"), ("PersistentVolumeClaim", "fraud-workbench"),
                       ("Secret", "default-name-credit-card-fraud-sa"), ("ServiceAccount", "credit-card-fraud-sa"),
                       ("Role", "credit-card-fraud-view-role")):  # fmt: skip
        left = [item for item in objects if (item["kind"], item["metadata"]["name"]) != (kind, name)]
        assert len(left) < len(objects)
        assert (
            list_references(left) - list_there(left) - set(MADE)
            == {reference for reference in list_references(left) if reference[1:] == (kind, name)}
            != set()
        )


def test_list_of_what_others_make_is_short():
    needed = set().union(*(list_references(render(overlay)) for overlay in OVERLAYS))
    assert set(MADE) - needed == set(), "nothing needs it any more"


def test_objects_have_the_recommended_labels(objects):
    for item in objects:
        labels = item["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == item["metadata"]["name"], tell(item)
        assert labels["app.kubernetes.io/part-of"] == "fraud-demo", tell(item)
        assert labels["app.kubernetes.io/component"] in COMPONENTS, tell(item)


def test_selectors_match_their_pods(objects):
    for item, labels, _ in list_pods(objects):
        if item["kind"] in ("Deployment", "StatefulSet"):
            assert has(labels, item["spec"]["selector"]["matchLabels"]), tell(item)


def test_services_reach_a_port(objects):
    pods = [(item["metadata"]["namespace"], labels, pod) for item, labels, pod in list_pods(objects)]
    runtime = next(pod for item, _, pod in list_pods(objects) if item["kind"] == "ServingRuntime")
    for item in objects:
        if item["kind"] == "Service":
            spec, here = item["spec"], item["metadata"]["namespace"]
            found = [
                pod
                for namespace, labels, pod in pods
                if namespace == here and labels and has(labels, spec["selector"])
            ]
            found += [runtime] if spec["selector"] in MADE_PODS else []
            assert len(found) == 1, tell(item)
            assert {port["targetPort"] for port in spec["ports"]} <= list_ports(found[0]), tell(item)


def test_policies_are_about_pods_that_exist(objects):
    known = [labels for _, labels, _ in list_pods(objects)] + MADE_PODS
    for item in objects:
        if item["kind"] == "NetworkPolicy":
            parts = [part for path, part in walk(item["spec"]) if path and path[-1] == "podSelector"]
            for part in parts:
                assert any(has(labels, part.get("matchLabels", {})) for labels in known), tell(item)


def test_routes_and_monitors_reach_a_service(objects):
    for item in objects:
        here = item["metadata"].get("namespace")
        services = [s for s in objects if s["kind"] == "Service" and s["metadata"]["namespace"] == here]
        if item["kind"] == "Route":
            service = find(services, "Service", item["spec"]["to"]["name"])
            assert item["spec"]["port"]["targetPort"] in {port["name"] for port in service["spec"]["ports"]}
            assert item["spec"]["tls"] == {"termination": "edge", "insecureEdgeTerminationPolicy": "Redirect"}
        if item["kind"] == "ServiceMonitor":
            wanted = item["spec"]["selector"]["matchLabels"]
            [service] = [s for s in services if has(s["metadata"]["labels"], wanted)]
            assert {e["port"] for e in item["spec"]["endpoints"]} <= {
                p["name"] for p in service["spec"]["ports"]
            }


def test_probes_volumes_and_variables_fit(objects):
    for item, _, pod in list_pods(objects):
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        volumes |= {v["metadata"]["name"] for v in item["spec"].get("volumeClaimTemplates", [])}
        mounted = set()
        for container in pod["containers"]:
            mounted |= {mount["name"] for mount in container.get("volumeMounts", [])}
            for path, part in walk(container):
                if path and path[-1] in ("httpGet", "tcpSocket"):
                    assert part["port"] in list_ports(pod), tell(item)
            names = [variable["name"] for variable in container.get("env", [])]
            assert len(names) == len(set(names)), tell(item)
        assert mounted == volumes, tell(item)


def test_variables_are_set_before_they_are_used(objects):
    """Kubernetes fills in what stands above, and what the sources of `envFrom` bring."""
    brought = {"BUCKET_NAME", "BUCKET_HOST", "BUCKET_PORT"}
    used = set()
    for item, _, pod in list_pods(objects):
        for container in pod["containers"]:
            known = set(brought)
            for variable in container.get("env", []):
                names = set(re.findall(r"\$\((\w+)\)", variable.get("value", "")))
                assert names <= known, f"{tell(item)}: {variable['name']}"
                known.add(variable["name"])
                used |= names
    assert brought <= used


def test_builds_fill_the_images_of_the_deployments(objects):
    streams = {
        (i["metadata"]["namespace"], i["metadata"]["name"]) for i in objects if i["kind"] == "ImageStream"
    }
    built = set()
    for item in objects:
        if item["kind"] == "BuildConfig":
            spec, target = item["spec"], item["spec"]["output"]["to"]
            assert spec["strategy"]["type"] == "Docker" and spec["source"]["type"] == "Git"
            assert target["kind"] == "ImageStreamTag" and re.fullmatch(r"[\w-]+:\w+", target["name"])
            assert spec["strategy"]["dockerStrategy"]["from"] == {
                "kind": "ImageStreamTag", "namespace": "openshift", "name": "python:3.12-ubi9",
            }  # fmt: skip
            built.add((item["metadata"]["namespace"], target["name"]))
    assert {(namespace, name.split(":")[0]) for namespace, name in built} == streams
    used = set()
    for item, _, pod in list_pods(objects):
        text = item["metadata"].get("annotations", {}).get("image.openshift.io/triggers")
        for trigger in json.loads(text or "[]"):
            container = re.fullmatch(
                r'spec.*containers\[\?\(@\.name=="(\w[\w-]*)"\)\]\.image', trigger["fieldPath"]
            )[1]
            [image] = [c["image"] for c in pod["containers"] if c["name"] == container]
            namespace, name = item["metadata"]["namespace"], trigger["from"]["name"]
            assert image.endswith(f"/{namespace}/{name}")
            used.add((namespace, name))
    assert used == built
