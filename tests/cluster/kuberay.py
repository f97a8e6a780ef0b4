"""KubeRay's own schemas of its resources (release 1.7.0, Apache-2.0, tests/assets/kuberay), taken literally."""

import functools
import lzma
from pathlib import Path
from typing import Any

import jsonschema
import yaml

ASSETS = Path(__file__).parents[1] / "assets" / "kuberay"
PLURALS = {"RayCluster": "rayclusters", "RayJob": "rayjobs"}


def errors_of(resource: dict[str, Any]) -> list[str]:
    """What Kubernetes would refuse: each as a path and a reason; keys that the schema does not have included."""
    validator = jsonschema.Draft202012Validator(_schema(resource["kind"]))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(resource)]


@functools.cache
def _schema(kind: str) -> dict[str, Any]:
    definition = yaml.load(  # of a file of this repository
        lzma.decompress((ASSETS / f"ray.io_{PLURALS[kind]}.yaml.xz").read_bytes()),
        Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader),
    )
    (version,) = [version for version in definition["spec"]["versions"] if version["name"] == "v1"]
    assert definition["spec"]["names"]["kind"] == kind
    schema = version["schema"]["openAPIV3Schema"]
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    return _strict(schema)


def _strict(schema: Any) -> Any:
    """The schema without room for other keys, as `kubectl apply` takes it."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        strict.setdefault("additionalProperties", False)
    return strict
