"""Grafana's part of `service/deploy`: known to Grafana's own types, and of one piece with what Compose starts."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.grafana import mistakes
from tests.test_deploy import DEPLOY, changed, dashboard

PROVISIONING = DEPLOY / "grafana" / "provisioning"
# Grafana publishes no types of provisioning files; these fields are those of its documentation.
OF_A_SOURCE = {
    *("name", "type", "access", "orgId", "uid", "url", "user", "database", "basicAuth", "basicAuthUser"),
    *("withCredentials", "isDefault", "jsonData", "secureJsonData", "version", "editable"),
}
OF_A_PROVIDER = {
    *("name", "orgId", "folder", "folderUid", "type", "disableDeletion", "updateIntervalSeconds"),
    *("allowUiUpdates", "options"),
}


def provisioned(kind: str, name: str) -> dict[str, Any]:
    """The one thing that a provisioning file lists."""
    read = yaml.safe_load((PROVISIONING / kind / name).read_text(encoding="utf-8"))
    assert read.pop("apiVersion") == 1
    ((_, (found,)),) = read.items()
    described: dict[str, Any] = found
    return described


def test_grafana_is_provisioned_with_what_compose_starts() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    source, provider = provisioned("datasources", "prometheus.yaml"), provisioned("dashboards", "textcnn.yaml")
    assert set(source) <= OF_A_SOURCE
    assert set(provider) <= OF_A_PROVIDER
    host, port = source["url"].removeprefix("http://").split(":")
    assert compose[host]["ports"] == [f"127.0.0.1:{port}:{port}"]
    mounted = dict(volume.split(":")[:2][::-1] for volume in compose["grafana"]["volumes"])
    folder = DEPLOY / mounted[provider["options"]["path"]]
    home = compose["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).parent == Path(provider["options"]["path"])
    assert [path.name for path in folder.iterdir()] == [Path(home).name]
    assert DEPLOY / mounted["/etc/grafana/provisioning"] == PROVISIONING
    (scrape,) = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())["scrape_configs"]
    (name,) = scrape["dns_sd_configs"][0]["names"]
    for service in ("textcnn", "textcnn-gpu"):
        assert name in compose[service]["networks"]["default"]["aliases"]


def test_panels_and_their_queries_name_the_source_that_is_provisioned() -> None:
    source = provisioned("datasources", "prometheus.yaml")
    for panel in dashboard()["panels"]:
        for asks in (panel, *panel["targets"]):
            assert asks["datasource"] == {"type": source["type"], "uid": source["uid"]}


def test_panels_stand_beside_each_other_on_the_grid() -> None:
    places = [panel["gridPos"] for panel in dashboard()["panels"]]
    taken = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert all(0 <= x < 24 for x, _ in taken)


def test_grafana_knows_all_that_the_dashboard_says() -> None:
    assert mistakes(dashboard()) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("refresh", 5),
        ("schemaVersion", "41"),
        ("time.until", "now"),
        ("panels.0.type", "timeserie"),
        ("panels.0.id", "1"),
        ("panels.0.gridPos.w", "8"),
        ("panels.0.datasource.id", "prometheus"),
        ("panels.0.targets", {}),
        ("panels.0.targets.0.legend", "{{status}}"),
        ("panels.0.targets.0.expr", 5),
        ("panels.0.options.legent", {}),
        ("panels.0.options.legend", {"displayMode": "lst"}),
        ("panels.0.fieldConfig.default", {}),
        ("panels.0.fieldConfig.defaults.unit", "reqsp"),
        ("panels.0.fieldConfig.defaults.min", "0"),
        ("panels.4.fieldConfig.defaults.custom.fillOpacity", "30"),
        ("panels.4.fieldConfig.defaults.custom.stacking.mode", "norml"),
        ("panels.9.options.colorMode", "valu"),
    ],
)
def test_a_mistake_in_the_dashboard_is_noticed(place: str, value: Any) -> None:
    assert mistakes(changed(dashboard(), place, value)) != []
