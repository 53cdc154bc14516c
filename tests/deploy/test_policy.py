"""Pods pass OpenShift's restricted-v2 and have limits and probes; roles ask for little; no key is in a file."""

from __future__ import annotations

import re

import pytest

from tests.deploy.manifests import DEPLOY, OPENSHIFT, OVERLAYS, find, list_pods, render, tell, walk

VOLUMES = {
    "configMap",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
HOST = ("hostNetwork", "hostPID", "hostIPC", "hostUsers", "shareProcessNamespace")
# (overlay or *, object, rule) to the reason why the rule does not hold there.
ALLOWED = {
    ("*", "StatefulSet/mlflow-postgresql", "readOnlyRootFilesystem"): "the image writes a line of passwd for its user",
    ("*", "Notebook/fraud-workbench", "readOnlyRootFilesystem"): "a person works in it and installs packages",
    ("*", "ServingRuntime/credit-card-fraud", "readOnlyRootFilesystem"): "what the server writes was not tried",
    ("*", "Notebook/fraud-workbench", "token"): "`fraud-demo cluster` runs in it with the rights of its account",
    ("*", "ServingRuntime/credit-card-fraud", "token"): "the inference service says it, or ModelMesh brings its own",
    ("openshift-ai-2-modelmesh", "ServingRuntime/credit-card-fraud", "livenessProbe"): "ModelMesh's adapter does it",
    ("openshift-ai-2-modelmesh", "ServingRuntime/credit-card-fraud", "readinessProbe"): "ModelMesh's adapter does it",
    ("kserve", "StatefulSet/mlflow-postgresql", "fsGroup"): "only OpenShift gives a disk to the group of the pod",
    ("kserve", "ServingRuntime/credit-card-fraud", "runAsUser"): "the image's user is a name, which Kubernetes cannot check",
}  # fmt: skip


def list_broken_rules(pod: dict) -> set[str]:
    """Say which rules the specification of a pod breaks."""
    outer = pod.get("securityContext", {})
    broken = {name for name in HOST if pod.get(name)}
    if pod.get("automountServiceAccountToken") is not False:
        broken.add("token")
    broken |= {"volume" for volume in pod.get("volumes", []) if set(volume) - {"name"} - VOLUMES}
    broken |= {name for name in ("fsGroup", "supplementalGroups", "sysctls") if name in outer}
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        inner = container.get("securityContext", {})
        context = {**outer, **inner}
        expected = {"runAsNonRoot": True, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
        broken |= {name for name, value in expected.items() if context.get(name) is not value}
        broken |= {
            name for name in ("runAsUser", "runAsGroup", "seLinuxOptions", "procMount") if name in context
        }
        if context.get("privileged"):
            broken.add("privileged")
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            broken.add("seccompProfile")
        if inner.get("capabilities") != {"drop": ["ALL"]}:
            broken.add("capabilities")
        for side in ("requests", "limits"):
            if not {"cpu", "memory"} <= set(container.get("resources", {}).get(side, {})):
                broken.add(side)
        broken |= {probe for probe in ("livenessProbe", "readinessProbe") if probe not in container}
        broken |= {"hostPort" for port in container.get("ports", []) if "hostPort" in port}
        if not is_pinned(container["image"]):
            broken.add("image")
    return broken


def is_pinned(image: str) -> bool:
    """Tell whether a digest or a tag other than latest says which image is meant."""
    if re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", image):
        return True
    tag = re.fullmatch(r"[^@\s]+/[^@:/\s]+:([\w.-]+)", image)
    return bool(tag) and tag[1] != "latest"


def list_all() -> list[tuple[str, str, dict]]:
    """Return overlay, name and specification of all pods."""
    return [(overlay, tell(item), pod) for overlay in OVERLAYS for item, _, pod in list_pods(render(overlay))]


def test_pods_keep_the_rules():
    found = {(overlay, name, rule) for overlay, name, pod in list_all() for rule in list_broken_rules(pod)}
    unexpected = {f for f in found if f not in ALLOWED and ("*", *f[1:]) not in ALLOWED}
    assert not unexpected
    used = {key for key in ALLOWED for f in found if key in (f, ("*", *f[1:]))}
    assert used == set(ALLOWED), "an exception that nothing needs"
    assert len(list_all()) >= 12


@pytest.mark.parametrize("overlay", OPENSHIFT)
def test_openshift_chooses_the_user(overlay):
    """The range of user ids differs from project to project, so a number in a file is wrong in most of them."""
    for item, _, pod in list_pods(render(overlay)):
        keys = {path[-1] for path, _ in walk(pod) if path}
        assert not keys & {"runAsUser", "runAsGroup", "fsGroup", "supplementalGroups"}, tell(item)


def spoil(container: dict, key: str, value: object) -> None:
    """Set a field of the security of a container."""
    container.setdefault("securityContext", {})[key] = value


PLANTED = {
    "runAsNonRoot": lambda pod, c: spoil(c, "runAsNonRoot", False),
    "allowPrivilegeEscalation": lambda pod, c: spoil(c, "allowPrivilegeEscalation", True),
    "readOnlyRootFilesystem": lambda pod, c: spoil(c, "readOnlyRootFilesystem", False),
    "privileged": lambda pod, c: spoil(c, "privileged", True),
    "runAsUser": lambda pod, c: spoil(c, "runAsUser", 1001),
    "runAsGroup": lambda pod, c: spoil(c, "runAsGroup", 0),
    "capabilities": lambda pod, c: spoil(c, "capabilities", {"drop": ["ALL"], "add": ["NET_RAW"]}),
    "seccompProfile": lambda pod, c: spoil(c, "seccompProfile", {"type": "Unconfined"}),
    "fsGroup": lambda pod, c: pod.setdefault("securityContext", {}).update(fsGroup=1001),
    "supplementalGroups": lambda pod, c: pod.setdefault("securityContext", {}).update(supplementalGroups=[1]),
    "hostNetwork": lambda pod, c: pod.update(hostNetwork=True),
    "hostPID": lambda pod, c: pod.update(hostPID=True),
    "hostIPC": lambda pod, c: pod.update(hostIPC=True),
    "volume": lambda pod, c: pod.setdefault("volumes", []).append({"name": "x", "hostPath": {"path": "/"}}),
    "hostPort": lambda pod, c: c.setdefault("ports", []).append({"containerPort": 1, "hostPort": 1}),
    "limits": lambda pod, c: c["resources"]["limits"].pop("memory"),
    "requests": lambda pod, c: c["resources"]["requests"].pop("cpu"),
    "livenessProbe": lambda pod, c: c.pop("livenessProbe", None),
    "readinessProbe": lambda pod, c: c.pop("readinessProbe", None),
    "token": lambda pod, c: pod.pop("automountServiceAccountToken", None),
    "image": lambda pod, c: c.update(image="registry.example.com/app:latest"),
}  # fmt: skip


@pytest.mark.parametrize("rule", PLANTED)
def test_planted_violation_is_found(rule):
    for overlay, name, pod in list_all():
        PLANTED[rule](pod, pod["containers"][0])
        assert rule in list_broken_rules(pod), f"{overlay}: {name}"


@pytest.mark.parametrize(
    ("image", "is_good"),
    [
        ("registry.example.com/b@sha256:" + "0" * 64, True),
        ("registry.example:5000/a/b:1.2", True),
        ("registry.example:5000/a/b", False),
        ("registry.example.com/b:latest", False),
        ("registry.example.com/b@sha256:00", False),
        ("b", False),
    ],
)
def test_image_is_pinned(image, is_good):
    assert is_pinned(image) is is_good


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_builds_have_limits(overlay):
    for item in render(overlay):
        if item["kind"] == "BuildConfig":
            assert {"cpu", "memory"} <= set(item["spec"]["resources"]["limits"]), tell(item)


@pytest.mark.parametrize("overlay", ["kserve", "openshift-ai-3"])
def test_model_gets_no_token_of_the_cluster(overlay):
    service = find(render(overlay), "InferenceService", "credit-card-fraud")
    assert service["spec"]["predictor"]["automountServiceAccountToken"] is False


def test_nothing_says_latest():
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix not in (".md", ".lock"):
            assert not re.search(r":latest\b", path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_key_is_in_the_manifests(overlay):
    """The one Secret is a token that the cluster fills in."""
    for item in render(overlay):
        if item["kind"] == "Secret":
            assert item["type"] == "kubernetes.io/service-account-token"
            assert not {"data", "stringData"} & set(item)
    for item, _, pod in list_pods(render(overlay)):
        for container in pod["containers"]:
            for variable in container.get("env", []):
                is_secret = re.search(r"PASSWORD|TOKEN|SECRET|ACCESS_KEY", variable["name"])
                assert not (is_secret and "value" in variable), f"{tell(item)}: {variable['name']}"
                assert not re.search(r"//[^/@$]*:[^/@$]+@", variable.get("value", "")), (
                    "a password in an address"
                )


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_roles_ask_for_little(overlay):
    for item in render(overlay):
        assert item["kind"] not in ("ClusterRole", "ClusterRoleBinding")
        for rule in item.get("rules", []):
            assert "*" not in str(rule), tell(item)
            assert not {"delete", "deletecollection", "escalate", "bind", "impersonate"} & set(rule["verbs"])
            if "secrets" in rule["resources"] and rule["verbs"] != ["create"]:
                assert rule["resourceNames"] and not {"list", "watch"} & set(rule["verbs"]), tell(item)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_namespace_denies_by_default(overlay):
    objects = render(overlay)
    names = {item["metadata"]["name"] for item in objects if item["kind"] == "Namespace"}
    deny = {"podSelector": {}, "policyTypes": ["Ingress"]}
    denied = {
        item["metadata"]["namespace"]
        for item in objects
        if item["kind"] == "NetworkPolicy" and item["spec"] == deny
    }
    assert denied == names == {item["metadata"].get("namespace") for item in objects} - {None}


def test_prometheus_reaches_the_metrics_that_an_alert_waits_for():
    """Where nothing comes in unless a policy says so, an alert about missing metrics would never end."""
    for overlay in ("kserve", *OPENSHIFT):
        items = render(overlay)
        if not any(item["kind"] == "PrometheusRule" for item in items):
            continue
        policies = [
            item
            for item in items
            if item["kind"] == "NetworkPolicy" and item["metadata"]["name"] == "allow-monitoring"
        ]
        ports = {
            port["port"] for item in policies for rule in item["spec"]["ingress"] for port in rule["ports"]
        }
        assert 8888 in ports, overlay
