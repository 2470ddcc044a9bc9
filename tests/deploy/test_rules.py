"""Records, alerts and dashboard, with Prometheus's own tool."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

Tool = Callable[[str], str]


def promtool(tool: Tool, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [tool("promtool"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def rules(chart: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((chart / "files" / "rules.yaml").read_text("utf-8"))
    return content


@pytest.fixture(scope="module")
def panels(chart: Path) -> list[dict[str, Any]]:
    content = json.loads((chart / "files" / "dashboard.json").read_text("utf-8"))
    found: list[dict[str, Any]] = content["panels"]
    return found


def test_the_rules_speak_when_they_should(tool: Tool, chart: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").symlink_to(chart / "files" / "rules.yaml")
    cases = tmp_path / "rules_test.yaml"
    cases.symlink_to(Path(__file__).with_name("rules_test.yaml"))
    done = promtool(tool, "test", "rules", cases)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_test(rules: dict[str, Any]) -> None:
    cases = Path(__file__).with_name("rules_test.yaml").read_text("utf-8")
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert rule.get("alert", rule.get("record")) in cases
            if "alert" in rule:
                assert set(rule["annotations"]) == {"summary", "description"}
                assert rule["labels"]["severity"] in ("warning", "critical")


def test_a_wrong_rule_would_be_seen(tool: Tool, chart: Path, tmp_path: Path) -> None:
    text = (chart / "files" / "rules.yaml").read_text("utf-8")
    (tmp_path / "rules.yaml").write_text(text.replace("> 0.95", "> 0.99"))
    (tmp_path / "rules_test.yaml").symlink_to(Path(__file__).with_name("rules_test.yaml"))
    done = promtool(tool, "test", "rules", tmp_path / "rules_test.yaml")
    assert done.returncode == 1
    assert "TumorctlGpuMemoryFull" in done.stdout + done.stderr


def test_the_operator_gets_the_same_rules(
    rules: dict[str, Any], render: Callable[..., list[dict[str, Any]]], one: Callable[..., dict[str, Any]]
) -> None:
    assert one(render({"monitoring": {"force": True}}), "PrometheusRule")["spec"] == rules
    root = Path(__file__).parents[2]
    assert yaml.safe_load((root / "deploy" / "alerts" / "rules.yaml").read_text("utf-8")) == rules


def expressions(panels: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for panel in panels:
        for target in panel.get("targets", []):
            yield f"{panel['title']} {target['refId']}", target["expr"]


def test_the_dashboards_queries_are_promql(tool: Tool, panels: list[dict[str, Any]], tmp_path: Path) -> None:
    concrete = {"$__rate_interval": "5m", "$namespace": "clinic", "$pod": ".*"}
    rules = []
    for number, (_, expression) in enumerate(expressions(panels)):
        for variable, value in concrete.items():
            expression = expression.replace(variable, value)
        rules.append({"record": f"panel_{number}", "expr": expression})
    assert len(rules) >= 13
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = promtool(tool, "check", "rules", tmp_path / "panels.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_shows_what_operators_ask_for(panels: list[dict[str, Any]]) -> None:
    everything = " ".join(expression for _, expression in expressions(panels))
    for metric in (
        "nv_inference_request_success",
        "nv_inference_request_failure",
        "nv_inference_queue_duration_us",
        "nv_inference_compute_infer_duration_us",
        "nv_gpu_utilization",
        "nv_gpu_memory_used_bytes",
        "tumor_gate_slices_seen",
        "tumor_gate_slices_passed",
        "tumor_gate_slices_skipped",
    ):
        assert metric in everything
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    for index, a in enumerate(places):
        assert a["x"] + a["w"] <= 24
        for b in places[index + 1 :]:
            apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
            assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]


def test_the_adapter_serves_what_the_autoscaler_asks_for(
    rules: dict[str, Any], render: Callable[..., list[dict[str, Any]]], one: Callable[..., dict[str, Any]]
) -> None:
    root = Path(__file__).parents[2]
    adapter = yaml.safe_load((root / "deploy" / "alerts" / "prometheus-adapter.yaml").read_text("utf-8"))
    served = {rule["seriesQuery"].partition("{")[0] for rule in adapter["rules"]["custom"]}
    recorded = {rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}
    metrics = one(render({"autoscaling": {"mode": "hpa"}}), "HorizontalPodAutoscaler")["spec"]["metrics"]
    asked = {metric["pods"]["metric"]["name"] for metric in metrics}
    assert asked == served
    assert asked < recorded
