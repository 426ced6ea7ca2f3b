"""The schema of KServe's InferenceService: of its SDK's declared types, and of Kubernetes' own for what a pod has."""

import ast
import json
import re
from functools import partial
from importlib.resources import files
from typing import Any

import jsonschema
import kubernetes_validate
from referencing import Registry, Resource

from tests.wheels import wheel

SDK = "kserve==0.21.0"
_SCALARS = {"str": "string", "int": "integer", "bool": "boolean", "float": "number", "object": "object"}


def validator() -> jsonschema.Draft202012Validator:
    """Of an InferenceService of `serving.kserve.io/v1beta1`; a field that is not declared is a mistake."""
    sources, kubernetes = models(), kubernetes_types()
    reference = partial(schema, sources=sources, kubernetes=kubernetes)
    definitions = {name: model(source, reference) for name, source in sources.items()}
    whole = {"$defs": definitions, **reference("V1beta1InferenceService")}
    return jsonschema.Draft202012Validator(whole, registry=Resource.from_contents(kubernetes) @ Registry())


def models() -> dict[str, str]:
    """Source of each model of the SDK by its class' name."""
    folder = wheel(SDK) / "kserve" / "models"
    sources = (path.read_text(encoding="utf-8") for path in folder.glob("*_*.py"))
    return {found[1]: source for source in sources if (found := re.search(r"^class (\w+)\(", source, re.MULTILINE))}


def kubernetes_types() -> dict[str, Any]:
    """Kubernetes' published definitions, in which a field that is not declared is a mistake too."""
    version = kubernetes_validate.latest_version()
    folder = files(kubernetes_validate) / "kubernetes-json-schema" / f"v{version}-local-strict"
    read: dict[str, Any] = json.loads((folder / "_definitions.json").read_text(encoding="utf-8"))
    return read


def model(source: str, reference: "partial[Any]") -> dict[str, Any]:
    """The schema of a model, from the tables that its class declares."""
    kinds, names = table(source, "openapi_types"), table(source, "attribute_map")
    required = set(re.findall(r"Invalid value for `(\w+)`, must not be `None`", source))
    return {
        "type": "object",
        "properties": {names[attribute]: reference(kind) for attribute, kind in kinds.items()},
        "required": sorted(names[attribute] for attribute in required),
        "additionalProperties": False,
    }


def table(source: str, name: str) -> dict[str, str]:
    """A dictionary in the source of a class."""
    (declared,) = re.findall(rf"^    {name} = (\{{.*?\}})$", source, re.MULTILINE | re.DOTALL)
    read: dict[str, str] = ast.literal_eval(declared)
    return read


def schema(kind: str, sources: dict[str, str], kubernetes: dict[str, Any]) -> Any:
    """Of a type as the SDK writes it, `list[V1Container]`; nothing is valid for one that neither publishes."""
    if kind in _SCALARS:
        return {"type": _SCALARS[kind]}
    if kind.startswith("list["):
        return {"type": "array", "items": schema(kind[5:-1], sources, kubernetes)}
    if kind.startswith("dict(str, "):
        return {"type": "object", "additionalProperties": schema(kind[10:-1], sources, kubernetes)}
    if kind in sources:
        return {"$ref": f"#/$defs/{kind}"}
    end = kind.removeprefix("K8sIo").lower()  # K8sIoApiAppsV1DeploymentStrategy: io.k8s.api.apps.v1.DeploymentStrategy
    names = [name for name in kubernetes["$defs"] if name.replace(".", "").lower().endswith(end)]
    return {"$ref": f"{kubernetes['$id']}#/$defs/{names[0]}"} if len(names) == 1 else False
