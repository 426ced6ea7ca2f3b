"""What `kubectl apply` asks of Kubernetes' API server, and what it sends there: a stand-in that creates nothing."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema

# Kinds by group and version, each with its name in paths.
RESOURCES = {
    "v1": {"Service": "services"},
    "apps/v1": {"Deployment": "deployments"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "monitoring.coreos.com/v1": {"ServiceMonitor": "servicemonitors", "PrometheusRule": "prometheusrules"},
    "serving.kserve.io/v1beta1": {"InferenceService": "inferenceservices"},
}
Validate = Callable[[dict[str, Any]], None]


class ApiServer(ThreadingHTTPServer):
    """Keeps what it is sent and `validate` does not refuse by an exception."""

    def __init__(self, validate: Validate) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.validate = validate
        self.created: list[dict[str, Any]] = []

    def described(self, path: str) -> dict[str, Any] | None:
        """What it says of itself under a path."""
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            return {
                "kind": "APIGroupList",
                "apiVersion": "v1",
                "groups": [_group(name) for name in RESOURCES if "/" in name],
            }
        if path == "/openapi/v3":
            return {
                "paths": {_path(name)[1:]: {"serverRelativeURL": f"/openapi/v3{_path(name)}"} for name in RESOURCES}
            }
        for name, kinds in RESOURCES.items():
            if path == _path(name):
                return {
                    "kind": "APIResourceList",
                    "groupVersion": name,
                    "resources": [_resource(*one) for one in kinds.items()],
                }
            if path == f"/openapi/v3{_path(name)}":
                return {"openapi": "3.0.0", "info": {"title": "", "version": ""}, "paths": dict(_operations(name))}
        return None


@contextmanager
def api_server(folder: Path, validate: Validate) -> Iterator[ApiServer]:
    """The server, with a `kubeconfig` in the folder that leads to it."""
    with ApiServer(validate) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        configuration = {
            **{"apiVersion": "v1", "kind": "Config", "current-context": "test"},
            "clusters": [{"name": "test", "cluster": {"server": address}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": ""}}],
        }
        (folder / "kubeconfig").write_text(json.dumps(configuration), encoding="utf-8")
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def _path(name: str) -> str:
    return f"/apis/{name}" if "/" in name else f"/api/{name}"


def _group(name: str) -> dict[str, Any]:
    version = {"groupVersion": name, "version": name.split("/")[1]}
    return {"name": name.split("/")[0], "versions": [version], "preferredVersion": version}


def _resource(kind: str, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "singularName": kind.lower(),
        "namespaced": True,
        "verbs": ["create", "get", "patch"],
    }


def _operations(name: str) -> Iterator[tuple[str, Any]]:
    """That it validates strictly, which kubectl looks up before it leaves this to the server."""
    group, _, version = name.rpartition("/")
    for kind, plural in RESOURCES[name].items():
        of = {"group": group, "version": version, "kind": kind}
        parameters = [{"name": "fieldValidation", "in": "query"}]
        patch = {"parameters": parameters, "responses": {}, "x-kubernetes-group-version-kind": of}
        yield f"{_path(name)}/namespaces/{{namespace}}/{plural}/{{name}}", {"patch": patch}


class _Handler(BaseHTTPRequestHandler):
    server: ApiServer

    def do_GET(self) -> None:
        found = self.server.described(urlsplit(self.path).path)
        self._reply(200, found) if found else self._fail(404, "NotFound", self.path)

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        strict = parse_qs(urlsplit(self.path).query).get("fieldValidation") == ["Strict"]
        try:
            assert strict, "kubectl has not asked for validation"
            assert sent["kind"] in RESOURCES[sent["apiVersion"]]
            self.server.validate(sent)
        except (AssertionError, LookupError, ValueError, jsonschema.ValidationError) as error:
            self._fail(422, "Invalid", str(error))
        else:
            self.server.created.append(sent)
            self._reply(201, sent)

    def _fail(self, code: int, reason: str, message: str) -> None:
        failure = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message}
        self._reply(code, failure | {"reason": reason, "code": code})

    def _reply(self, code: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""
