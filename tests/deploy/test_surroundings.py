"""What stands around the server: monitoring, identity, the test pod, names."""

from __future__ import annotations

from pathlib import Path

from chart_objects import Objects, One, Render, kinds, pod

MONITORING = ("monitoring.coreos.com/v1", *(f"monitoring.coreos.com/v1/{k}" for k in ("PodMonitor", "PrometheusRule")))


def test_monitoring_is_there_where_the_cluster_can_take_it(plain: Objects, render: Render, one: One) -> None:
    wanted = {"PodMonitor", "PrometheusRule"}
    assert not wanted & kinds(plain)
    assert "rel-tumorctl-dashboard" not in {item["metadata"]["name"] for item in plain}
    for objects in (render(apis=MONITORING), render({"monitoring": {"force": True}})):
        assert wanted < kinds(objects)
        assert one(objects, "ConfigMap", "rel-tumorctl-dashboard")["metadata"]["labels"]["grafana_dashboard"] == "1"
    off = {"scraper": "none", "rules": False, "dashboard": False, "force": True}
    objects = render({"monitoring": off})
    assert not wanted & kinds(objects)
    assert "rel-tumorctl-dashboard" not in {item["metadata"]["name"] for item in objects}
    objects = render({"monitoring": {"scraper": "serviceMonitor", "intervalSeconds": 5, "force": True}})
    assert "PodMonitor" not in kinds(objects)
    monitor = one(objects, "ServiceMonitor")
    assert monitor["spec"]["endpoints"][0]["interval"] == "5s"
    services = [item for item in objects if item["kind"] == "Service"]
    selected = [
        item["metadata"]["name"]
        for item in services
        if monitor["spec"]["selector"]["matchLabels"].items() <= item["metadata"]["labels"].items()
    ]
    assert selected == ["rel-tumorctl"]  # one of the two: every pod is scraped once


def test_identity(plain: Objects, render: Render, one: One) -> None:
    assert one(plain, "ServiceAccount")["automountServiceAccountToken"] is False
    objects = render({"serviceAccount": {"create": False, "name": "ours"}})
    assert "ServiceAccount" not in kinds(objects)
    assert pod(one(objects, "Deployment"))["serviceAccountName"] == "ours"


def test_the_test_pod(plain: Objects, render: Render, one: One, chart: Path) -> None:
    item = one(plain, "Pod")
    assert item["metadata"]["annotations"]["helm.sh/hook"] == "test"
    script = one(plain, "ConfigMap", "rel-tumorctl-scripts")["data"]["golden_scan.py"]
    assert script.strip() == (chart / "files" / "golden_scan.py").read_text().strip()
    objects = render({"tests": {"enabled": False}})
    assert "Pod" not in kinds(objects)
    assert set(one(objects, "ConfigMap", "rel-tumorctl-scripts")["data"]) == {"models.py"}


def test_names_and_labels_can_be_changed(render: Render) -> None:
    objects = render({"fullnameOverride": "brain", "nameOverride": "mri", "commonLabels": {"team": "radiology"}})
    for item in objects:
        assert item["metadata"]["name"].startswith("brain")
        assert item["metadata"]["labels"]["app.kubernetes.io/name"] == "mri"
        assert item["metadata"]["labels"]["team"] == "radiology"
