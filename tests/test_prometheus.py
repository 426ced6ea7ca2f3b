"""A real Prometheus scrapes a service under load; what the dashboard asks it has sensible answers."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.servers import RunningServer, eventually, server
from tests.test_deploy import DEPLOY, dashboard

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's package prometheus"),
]
CONFIGURATION = """
global: {{ scrape_interval: 250ms }}
scrape_configs: [{{ job_name: textcnn, static_configs: [{{ targets: ["{target}"] }}] }}]
"""


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[httpx.Client]:
    """A client of a Prometheus that scrapes `target`."""
    (folder / "prometheus.yaml").write_text(CONFIGURATION.format(target=target), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = ["prometheus", f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with subprocess.Popen(
        [*command, f"--web.listen-address={address}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            with httpx.Client(base_url=f"http://{address}", timeout=30) as client:
                yield client
        finally:
            process.terminate()


@contextmanager
def load(running: RunningServer) -> Iterator[None]:
    """Requests one after the other, one in ten of them wrong, until the block ends."""
    stop = threading.Event()

    def ask() -> None:
        with running.client() as client:
            count = 0
            while not stop.is_set():
                count += 1
                client.post("/predict", json={"inputs": [] if count % 10 == 0 else ["money back", "thank you"]})

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def value(client: httpx.Client, query: str) -> list[float]:
    """What a query gives now, for each series."""
    try:
        reply = client.get("/api/v1/query", params={"query": query})
    except httpx.TransportError:  # it is still starting
        return []
    if reply.status_code == 503:
        return []
    assert reply.status_code == 200, reply.text
    return [float(series["value"][1]) for series in reply.json()["data"]["result"]]


def test_prometheus_accepts_the_configuration_of_the_compose_stack() -> None:
    command = ["promtool", "check", "config", str(DEPLOY / "prometheus.yaml")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


RULES = """
rule_files: [rules.yaml]
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series: # a pod whose requests wait for 250 ms, one that nobody asks, and one request in 20 that fails
      - { series: 'textcnn_queue_seconds_sum{namespace="n", pod="busy"}', values: 0+8x60 }
      - { series: 'textcnn_queue_seconds_count{namespace="n", pod="busy"}', values: 0+32x60 }
      - { series: 'textcnn_queue_seconds_sum{namespace="n", pod="idle"}', values: 7x60 }
      - { series: 'textcnn_queue_seconds_count{namespace="n", pod="idle"}', values: 900x60 }
      - { series: 'textcnn_requests_total{namespace="n", pod="busy", status="200"}', values: 0+19x60 }
      - { series: 'textcnn_requests_total{namespace="n", pod="busy", status="500"}', values: 0+1x60 }
      - { series: 'textcnn_worker_restarts_total{pod="busy"}', values: 0x20 5x40 }
    promql_expr_test:
      - expr: METRICS_QUERY
        eval_time: 10m
        exp_samples: [{ labels: '{pod="busy"}', value: 0.25 }, { labels: '{pod="idle"}', value: 0 }]
    alert_rule_test:
      - { alertname: TextcnnErrors, eval_time: 5m, exp_alerts: [] }
      - { alertname: TextcnnErrors, eval_time: 12m, exp_alerts: [{ exp_labels: { namespace: n, severity: page } }] }
      - { alertname: TextcnnWorkersDie, eval_time: 12m, exp_alerts: [{ exp_labels: { pod: busy, severity: warn } }] }
"""


def test_rules_tell_the_autoscaler_of_busy_and_of_idle_pods_and_page_for_errors(tmp_path: Path) -> None:
    monitoring = DEPLOY / "kubernetes" / "monitoring"
    rules = yaml.safe_load((monitoring / "rules.yaml").read_text(encoding="utf-8"))["spec"]
    annotated = [rule for group in rules["groups"] for rule in group["rules"]]
    for rule in annotated:
        rule.pop("annotations", None)  # words, which promtool would compare too
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    adapter = yaml.safe_load((monitoring / "adapter.yaml").read_text(encoding="utf-8"))["rules"]["custom"][0]
    autoscaler = yaml.safe_load((monitoring / "autoscaler.yaml").read_text(encoding="utf-8"))["spec"]
    series = adapter["seriesQuery"].split("{")[0]
    assert series == autoscaler["metrics"][0]["pods"]["metric"]["name"]
    query = adapter["metricsQuery"].replace("<<.Series>>", series).replace("<<.GroupBy>>", "pod")
    test = RULES.replace("METRICS_QUERY", query.replace("<<.LabelMatchers>>", 'namespace="n"'))
    (tmp_path / "test.yaml").write_text(test, encoding="utf-8")
    command = ["promtool", "test", "rules", str(tmp_path / "test.yaml")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_every_panel_of_the_dashboard_has_an_answer(tmp_path: Path, checkpoint: Path) -> None:
    found: dict[str, list[float]] = {}
    with (
        server(checkpoint, "--device", "cpu") as running,
        load(running),
        prometheus(tmp_path, running.url.removeprefix("http://")) as client,
    ):
        assert eventually(lambda: value(client, "count_over_time(textcnn_texts_total[1m]) > 8") != [], 60)
        for panel in dashboard()["panels"]:
            for target in panel["targets"]:
                query = target["expr"].replace("$__rate_interval", "2s").replace("$__range", "1m")
                found[f"{panel['title']} {target['legendFormat']}"] = value(client, query)
    empty = [name for name, values in found.items() if not values or any(number != number for number in values)]
    assert not empty
    assert sum(found["Requests by status {{status}}"]) > 1
    assert found["Errors 4xx"] == pytest.approx([0.1], abs=0.07)
    assert found["Errors 5xx"] == [0]
    assert found["Texts in a pass mean"] == pytest.approx([2])
    (median,), (slow,) = found["Time to the reply p50"], found["Time to the reply p99"]
    assert 0 < median <= slow < 1
    parts = [found[f"Where the time goes (mean) {part}"][0] for part in ("queue", "tokenize", "inference")]
    assert 0 < sum(parts) < 1
    assert found["Workers replaced, checkpoints loaded workers replaced"] == [0]
