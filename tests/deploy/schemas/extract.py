"""Make the schemas of this folder from published definitions: `python extract.py FILE...`, see README.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
KINDS = {"BuildConfig": "com.github.openshift.api.build.v1.BuildConfig",
         "ImageStream": "com.github.openshift.api.image.v1.ImageStream"}  # fmt: skip
TEXT = ("description", "default", "title", "format", "x-kubernetes-validations", "x-kubernetes-map-type",
        "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-patch-merge-key",
        "x-kubernetes-patch-strategy", "x-kubernetes-group-version-kind")  # fmt: skip
# What our manifests do not use. An object without it is still closed, so using it is an error until it is
# taken off this list and the schemas are made again.
LEFT_OUT = {"status", "affinity", "initContainers", "ephemeralContainers", "transformer", "explainer", "worker",
            "workerSpec", "topologySpreadConstraints", "lifecycle", "dnsConfig", "canary", "batcher", "logger",
            "autoScaling", "modelcars", "sklearn", "xgboost", "tensorflow", "pytorch", "triton", "onnx", "huggingface",
            "pmml", "lightgbm", "paddle", "volumeDevices", "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs",
            "cinder", "csi", "downwardAPI", "ephemeral", "fc", "flexVolume", "flocker", "gcePersistentDisk", "gitRepo",
            "glusterfs", "iscsi", "nfs", "photonPersistentDisk", "portworxVolume", "projected", "quobyte",
            "rbd", "scaleIO", "storageos", "vsphereVolume", "windowsOptions", "resourceClaims", "resizePolicy",
            "jenkinsPipelineStrategy", "customStrategy", "partial_response_strategy", "submitterPodTemplate",
            "autoscalerOptions", "networkPolicy", "gcsFaultToleranceOptions", "historyServerOptions",
            "headService"}  # fmt: skip


def simplify(
    schema: dict,  # a schema, or a part of one
    definitions: dict,  # what its references name
) -> dict:
    """Resolve the references, leave out texts and what we do not use, and close each object that lists its fields."""
    if "$ref" in schema:
        return simplify(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    if len(schema.get("allOf", ())) == 1 and "properties" not in schema:
        return simplify(schema["allOf"][0], definitions)
    made = {key: value for key, value in schema.items() if key not in TEXT}
    if made.pop("x-kubernetes-int-or-string", False):
        return {"type": ["integer", "string"]}
    is_open = made.pop("x-kubernetes-preserve-unknown-fields", False)
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = simplify(made[key], definitions)
    if "properties" in made:
        kept = {name: part for name, part in made["properties"].items() if name not in LEFT_OUT}
        made["properties"] = {name: simplify(part, definitions) for name, part in kept.items()}
        if not is_open:
            made["additionalProperties"] = False
    return made


def read_definitions(
    path: Path,  # a CustomResourceDefinition as YAML, or openapi.json of openshift/api
) -> dict[str, dict]:  # kind to schema
    """Read the schemas of a file."""
    if path.suffix == ".json":
        known = json.loads(path.read_text(encoding="utf-8"))["definitions"]
        return {kind: simplify(known[name], known) for kind, name in KINDS.items()}
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
    stored = next(version for version in spec["versions"] if version["storage"])
    return {spec["names"]["kind"]: simplify(stored["schema"]["openAPIV3Schema"], {})}


def main():
    """Write a file for each kind."""
    for name in sys.argv[1:]:
        for kind, schema in read_definitions(Path(name)).items():
            schema["properties"]["metadata"] = {"type": "object"}
            text = json.dumps(schema, sort_keys=True, separators=(",", ":"))
            (HERE / f"{kind}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
