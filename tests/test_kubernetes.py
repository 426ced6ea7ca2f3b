"""Kubernetes' and KServe's part of `service/deploy`, valid against the published schemas and as `kubectl` sends it."""

import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests import kserve
from tests.apiserver import api_server
from tests.node import node_module
from tests.servers import ROOT
from tests.test_deploy import DEPLOY, changed
from tests.wheels import kubectl

pytestmark = pytest.mark.slow

BASE = ["Deployment", "PodDisruptionBudget", "Service"]
CREATED = {
    "base": BASE,
    "gpu": BASE,
    "monitoring": sorted([*BASE, "HorizontalPodAutoscaler", "PrometheusRule", "ServiceMonitor"]),
    "kserve": ["InferenceService"],
}
of_kserve = cache(kserve.validator)
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")


def commands() -> dict[str, str]:
    """Those of the README's section on Kubernetes, by the folder that each applies."""
    section = (DEPLOY / "README.md").read_text(encoding="utf-8").split("## Kubernetes")[1]
    block = re.search(r"```bash\n(.*?)```", section, flags=re.DOTALL)
    assert block
    return {line.split("kubernetes/")[1].split("/")[0].split()[0]: line for line in block[1].strip().split("\n")}


@cache
def resource(kind: str) -> dict[str, Any]:
    """The one of that kind, as `kubectl` renders the folder with the most of them."""
    folder = DEPLOY / "kubernetes"
    rendered = subprocess.run([kubectl(), "kustomize", folder / "monitoring"], capture_output=True, check=True).stdout
    known = [*yaml.safe_load_all(rendered), yaml.safe_load((folder / "kserve" / "inferenceservice.yaml").read_bytes())]
    (found,) = (one for one in known if one["kind"] == kind)
    one_of_them: dict[str, Any] = found
    return one_of_them


def validate(given: dict[str, Any]) -> None:
    """Raises for what its kind's published schema does not allow; a field that is not in it is a mistake."""
    group = given["apiVersion"].split("/")[0]
    if group == "serving.kserve.io":
        of_kserve().validate(given)
    elif group == "monitoring.coreos.com":
        node_module("@kubernetes-models/prometheus-operator")
        command = ["node", str(ROOT / "tests" / "validate.mjs")]
        told = subprocess.run(command, input=json.dumps([given]), capture_output=True, text=True, check=False)
        if told.returncode:
            raise ValueError(told.stderr)
    else:
        kubernetes_validate.validate(given, kubernetes_validate.latest_version(), strict=True)


def apply(command: str, folder: Path) -> tuple[int, list[dict[str, Any]]]:
    """Exit status of a command and what it has created on an API server that validates."""
    home = {"KUBECONFIG": str(folder / "kubeconfig"), "HOME": str(folder)}
    path = f"{Path(kubectl()).parent}:{os.environ['PATH']}"
    with api_server(folder, validate) as server:
        done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=os.environ | home | {"PATH": path}, check=False)
        return done.returncode, server.created


def test_the_readme_applies_everything() -> None:
    assert set(commands()) == set(CREATED)


@needs_node
@pytest.mark.parametrize("name", CREATED)
def test_the_readmes_commands_apply_resources_that_are_valid(name: str, tmp_path: Path) -> None:
    status, created = apply(commands()[name], tmp_path)
    assert status == 0
    assert sorted(one["kind"] for one in created) == CREATED[name]
    for one in created:
        if one["kind"] == "Deployment":
            limits = one["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
            assert ("nvidia.com/gpu" in limits) == (name == "gpu")


def test_a_resource_that_is_not_valid_is_not_applied(tmp_path: Path) -> None:
    shutil.copytree(DEPLOY / "kubernetes" / "base", tmp_path / "base")
    wrong = changed(resource("Service"), "spec.portz", [])
    (tmp_path / "base" / "service.yaml").write_text(json.dumps(wrong), encoding="utf-8")
    status, created = apply(f"kubectl apply -k {tmp_path / 'base'}", tmp_path)
    assert status == 1
    assert "Service" not in {one["kind"] for one in created}


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        ("Deployment", "spec.replicas", "two"),
        ("Deployment", "spec.template.spec.containers.0.resourses", {}),
        ("PodDisruptionBudget", "spec.minUnavailable", 1),
        ("HorizontalPodAutoscaler", "spec.metrics.0.pods.metrics", {}),
        pytest.param("PrometheusRule", "spec.groups.0.rules.0.for", "soon", marks=needs_node),
        pytest.param("ServiceMonitor", "spec.endpoints.0.interval", "soon", marks=needs_node),
        ("InferenceService", "spec.predictors", {}),
        ("InferenceService", "spec.predictor", None),
        ("InferenceService", "spec.predictor.minReplica", 1),
        ("InferenceService", "spec.predictor.maxReplicas", "4"),
        ("InferenceService", "spec.predictor.timeout", "40s"),
        ("InferenceService", "spec.predictor.containers", {}),
        ("InferenceService", "spec.predictor.containers.0.readinessProb", {}),
        ("InferenceService", "spec.predictor.containers.0.ports.0.containerPort", "http"),
        ("InferenceService", "spec.predictor.containers.0.securityContext.runAsUser", "textcnn"),
        ("InferenceService", "spec.predictor.volumes.0.emptydir", {}),
        ("InferenceService", "metadata.lables", {}),
    ],
)
def test_a_mistake_in_a_resource_is_noticed(kind: str, place: str, value: Any) -> None:
    validate(resource(kind))
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        validate(changed(resource(kind), place, value))
