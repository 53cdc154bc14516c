"""The names in the manifests are those that the library, its app and MLflow read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import yaml

from fraud_demo import registry
from fraud_demo.core import Settings, load_settings
from fraud_demo.details.app_process import make_health_routes
from fraud_demo.discovery import IN_CLUSTER_URL
from fraud_demo.serving import parse_endpoint
from fraud_demo.workshop.stack import PORTS, plan_mlflow
from tests.deploy.manifests import DEPLOY, MLFLOW, OVERLAYS, PROJECT, find, list_pods, render
from tests.deploy.test_app_image import RECIPE

SETTINGS = Settings(home=Path("/nowhere"))
SERVED = SETTINGS.served_name
TOKEN_SECRET = f"default-name-{SERVED}-sa"
CONNECTION = f"{SERVED}-models"


@pytest.fixture(params=OVERLAYS)
def objects(request) -> list[dict]:
    """The objects of each overlay."""
    return render(request.param)


def get_container(objects: list[dict], kind: str, name: str) -> dict:
    """Return the one container of a pod."""
    [container] = find(objects, kind, name)["spec"]["template"]["spec"]["containers"]
    return container


def read_variables(container: dict) -> dict[str, str]:
    """Return the variables of a container; one from a Secret has the Secret's name and key as value."""
    found = {}
    for variable in container["env"]:
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        found[variable["name"]] = (
            f"{reference['name']}/{reference['key']}" if reference else variable["value"]
        )
    return found


def read_containerfile(folder: str) -> str:
    """Read a Containerfile with its long lines joined."""
    return (DEPLOY / folder / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def test_served_name_is_everywhere(objects):
    service = find(objects, "InferenceService", SERVED)
    runtime = find(objects, "ServingRuntime", service["spec"]["predictor"]["model"]["runtime"])
    assert service["spec"]["predictor"]["model"]["modelFormat"] in [
        {"name": known["name"], "version": known["version"]}
        for known in runtime["spec"]["supportedModelFormats"]
    ]
    assert find(objects, "Namespace", PROJECT)
    assert service["metadata"]["namespace"] == runtime["metadata"]["namespace"] == PROJECT


def test_model_is_where_publish_puts_it(objects, monkeypatch, tmp_path):
    """The prefix holds one folder with a number, which is what the model server loads."""
    (tmp_path / "model.onnx").write_bytes(b"model")
    version = SimpleNamespace(version="1", onnx_path=tmp_path / "model.onnx", tags={"gate.passed_at": "now"})
    keys = []
    monkeypatch.setattr(registry, "load_version", lambda settings, version_: version)
    monkeypatch.setattr(registry, "write_once", lambda settings, key, data: keys.append(key) or data)
    prefix = registry.publish(SETTINGS, "1")
    service = find(objects, "InferenceService", SERVED)
    notes, storage = (
        service["metadata"]["annotations"],
        service["spec"]["predictor"]["model"].get("storage", {}),
    )
    assert prefix == storage.get("path", notes.get("opendatahub.io/connection-path"))
    assert storage.get("key", notes.get("opendatahub.io/connections")) == CONNECTION
    assert keys == [f"{prefix}/1/model.onnx"]


def test_runtime_serves_that_folder_in_float32():
    for overlay in ("kserve", "openshift-ai-3"):
        spec = find(render(overlay), "ServingRuntime", SERVED)["spec"]
        [container] = spec["containers"]
        options = dict(argument.removeprefix("--").partition("=")[::2] for argument in container["args"])
        assert options["model_path"] == "/mnt/models", "where KServe puts the model"
        assert options["model_name"] == "{{.Name}}"
        assert json.loads(options["plugin_config"]) == {"INFERENCE_PRECISION_HINT": "f32"}
        assert int(options["rest_port"]) == container["ports"][0]["containerPort"]
        assert options["rest_port"] == spec["annotations"]["prometheus.io/port"]
        assert "metrics_enable" in options


def test_app_reads_its_variables(objects):
    values = read_variables(get_container(objects, "Deployment", f"{SERVED}-app"))
    settings = load_settings(values)
    address = parse_endpoint(settings.endpoint, settings.served_name)
    assert address.model_name == SERVED and address.version is None
    host = urlsplit(address.base_url).hostname
    assert host.split(".")[:2] in ([f"{SERVED}-predictor", PROJECT], ["modelmesh-serving", PROJECT])
    read = {"INFERENCE_ENDPOINT": settings.inference_endpoint, "FRAUD_DEMO_TOKEN": settings.token,
            "FRAUD_DEMO_CA_BUNDLE": settings.ca_bundle}  # fmt: skip
    assert {name: value for name, value in read.items() if value} == values, "a variable that nobody reads"


def test_app_sends_the_token_over_tls():
    objects = render("openshift-ai-3")
    container = get_container(objects, "Deployment", f"{SERVED}-app")
    values = read_variables(container)
    assert values["FRAUD_DEMO_TOKEN"] == f"{TOKEN_SECRET}/token"
    assert values["INFERENCE_ENDPOINT"].startswith("https://")
    assert find(objects, "Secret", TOKEN_SECRET)
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(Path(values["FRAUD_DEMO_CA_BUNDLE"]).parent) in mounts
    role = find(objects, "Role", f"{SERVED}-view-role")
    assert [rule["resourceNames"] for rule in role["rules"]] == [[SERVED]]


@pytest.mark.parametrize("overlay", sorted(set(OVERLAYS) - {"openshift-ai-3"}))
def test_no_token_goes_over_plain_http(overlay):
    values = read_variables(get_container(render(overlay), "Deployment", f"{SERVED}-app"))
    assert values["INFERENCE_ENDPOINT"].startswith("http://") and "FRAUD_DEMO_TOKEN" not in values


def test_app_fits_its_image(objects):
    container = get_container(objects, "Deployment", f"{SERVED}-app")
    assert {str(port["containerPort"]) for port in container["ports"]} == {
        RECIPE.port,
        RECIPE.env["GRADIO_SERVER_PORT"],
    }
    assert "command" not in container and "args" not in container, "the image says what runs"
    written = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    for name in ("HOME", "GRADIO_TEMP_DIR"):
        assert any(Path(RECIPE.env[name]).is_relative_to(place) for place in written), (
            f"{name} cannot be written"
        )
    routes = {route.path for route in make_health_routes(None, None)}
    assert {container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("liveness", "readiness")} == routes
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez", "a model that is down restarts no app"
    assert container["readinessProbe"]["timeoutSeconds"] > 2, "the app gives the model two seconds"


def test_mlflow_is_where_the_library_looks(objects):
    service = find(objects, "Service", "mlflow-server")
    [port] = service["spec"]["ports"]
    url = f"http://mlflow-server.{service['metadata']['namespace']}.svc.cluster.local:{port['port']}"
    assert url == IN_CLUSTER_URL
    for item in objects:
        if item["kind"] == "ConfigMap":
            assert load_settings(item["data"]).mlflow_route == url


def test_mlflow_runs_as_in_the_local_stack(objects):
    container = get_container(objects, "Deployment", "mlflow-server")
    values, plan = read_variables(container), plan_mlflow(SETTINGS, PORTS)
    local = {
        "MLFLOW_SERVER_ALLOWED_HOSTS",
        "MLFLOW_S3_ENDPOINT_URL",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CONFIG_FILE",
    }
    assert {name: values.get(name) for name in plan.environment if name not in local} == {
        name: value for name, value in plan.environment.items() if name not in local
    }
    assert "--workers=1" in container["args"] and "--workers=1" in plan.command
    [port] = container["ports"]
    assert f"--port={port['containerPort']}" in container["args"]
    assert f"EXPOSE {port['containerPort']}\n" in read_containerfile("mlflow")
    assert container["args"][0] == "mlflow"
    home = re.search(r"\bHOME=(\S+)", read_containerfile("mlflow"))[1]
    assert home in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_mlflow_answers_under_its_names(objects):
    """MLflow itself says whether it takes the Host and the Origin of its service and of its route."""
    from mlflow.server.security_utils import is_allowed_host_header, should_block_cors_request

    values = read_variables(get_container(objects, "Deployment", "mlflow-server"))
    domain = "apps.example.org"
    hosts = values["MLFLOW_SERVER_ALLOWED_HOSTS"].replace("$(APPS_DOMAIN)", domain).split(",")
    assert not [host for host in hosts if host != host.strip() or "$(" in host]
    for host in (urlsplit(IN_CLUSTER_URL).netloc, "mlflow-server:8080", f"mlflow-server.{MLFLOW}:8080",
                 f"mlflow-server.{MLFLOW}.svc:8080", f"mlflow-server-{MLFLOW}.{domain}", "localhost:8080"):  # fmt: skip
        assert is_allowed_host_header(hosts, host), host
    for host in ("evil.example", f"evil.{domain}", "mlflow-server-mlflow.evil.example", ""):
        assert not is_allowed_host_header(hosts, host), host
    origins = values["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"].replace("$(APPS_DOMAIN)", domain).split(",")
    assert not should_block_cors_request(f"https://mlflow-server-{MLFLOW}.{domain}", "POST", origins)
    assert should_block_cors_request("https://evil.example", "POST", origins)


def test_lock_of_mlflow_has_the_versions_of_the_workbook():
    """A server of another version than the client is a source of surprises."""
    pin = re.compile(r"^([\w.-]+)==([^\s;]+)", re.M)
    ours = dict(pin.findall((DEPLOY / "mlflow" / "requirements.lock").read_text(encoding="utf-8")))
    theirs = dict(pin.findall((DEPLOY.parent / "requirements-test.lock").read_text(encoding="utf-8")))
    assert {"mlflow", "boto3", "psycopg2-binary"} <= set(ours)
    assert {name: version for name, version in ours.items() if theirs.get(name, version) != version} == {}


@pytest.mark.parametrize("overlay", sorted(set(OVERLAYS) - {"kserve"}))
def test_workbench_has_connection_and_route(overlay):
    objects = render(overlay)
    notebook = find(objects, "Notebook", "fraud-workbench")
    assert notebook["metadata"]["annotations"]["opendatahub.io/connections"] == f"{PROJECT}/{CONNECTION}"
    [container] = notebook["spec"]["template"]["spec"]["containers"]
    assert container["name"] == "fraud-workbench", "the dashboard wants the name of the workbench"
    assert {next(iter(source.values()))["name"] for source in container["envFrom"]} == {
        "fraud-workbench",
        CONNECTION,
    }
    base = re.search(r"base_url=(\S+)", read_variables(container)["NOTEBOOK_ARGS"])[1]
    assert base == f"/notebook/{PROJECT}/fraud-workbench"
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] == f"{base}/api"
    claim = find(objects, "PersistentVolumeClaim", "fraud-workbench")
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
    login = {name for name in notebook["metadata"]["annotations"] if "/inject-" in name}
    kind = "auth" if overlay == "openshift-ai-3" else "oauth"
    assert login == {f"notebooks.opendatahub.io/inject-{kind}"}


@pytest.mark.parametrize("overlay", sorted(set(OVERLAYS) - {"kserve"}))
def test_connect_may_do_what_it_must(overlay):
    """Read the bucket's key in one project, write the connection in the other, from the workbench's account."""
    objects = render(overlay)
    claim = find(objects, "ObjectBucketClaim", "mlflow-server")
    reader = find(objects, "Role", "mlflow-server-bucket-reader")
    assert reader["metadata"]["namespace"] == claim["metadata"]["namespace"] == MLFLOW
    assert reader["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["configmaps", "secrets"],
            "resourceNames": ["mlflow-server"],
            "verbs": ["get"],
        }
    ]
    rules = find(objects, "Role", "fraud-workbench-operator")["rules"]
    writable = {name for rule in rules if "patch" in rule["verbs"] for name in rule.get("resourceNames", [])}
    assert writable == {CONNECTION, "storage-config", SERVED}
    accounts = {
        (s["namespace"], s["name"])
        for item in objects
        if item["kind"] == "RoleBinding"
        and item["roleRef"]["name"] in (reader["metadata"]["name"], "fraud-workbench-operator")
        for s in item["subjects"]
    }
    assert accounts == {(PROJECT, "fraud-workbench")}
    users = [pod["serviceAccountName"] for _, _, pod in list_pods(objects) if "serviceAccountName" in pod]
    assert users == ["fraud-workbench"]


def test_example_of_the_connection_is_read_by_the_library():
    """The Secret that the guide shows has the keys that a workbench gets as variables."""
    guide = (DEPLOY / "README.md").read_text(encoding="utf-8")
    [text] = [block for block in re.findall(r"```yaml\n(.*?)```", guide, re.S) if "kind: Secret" in block]
    secret = yaml.safe_load(text)
    assert (secret["metadata"]["name"], secret["metadata"]["namespace"]) == (CONNECTION, PROJECT)
    store = load_settings(secret["stringData"]).object_store
    assert set(secret["stringData"].values()) == {
        store.endpoint,
        store.bucket,
        store.region,
        store.access_key,
        store.secret_key,
    }
    assert secret["metadata"]["annotations"]["opendatahub.io/connection-type-protocol"] == "s3"
