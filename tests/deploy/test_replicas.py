"""How many pods, and where: updates, scheduling, disruptions, autoscaling."""

from __future__ import annotations

from typing import Any

from chart_objects import TENSORRT, TWO_GPUS, Objects, One, Render, kinds, pod


def test_updates_take_no_extra_gpu(server: dict[str, Any], render: Render, one: One) -> None:
    assert server["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    other = one(render({"strategy": {"maxSurge": "25%", "maxUnavailable": 0}}), "Deployment")
    assert other["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": 0}


def test_scheduling(server: dict[str, Any], render: Render) -> None:
    for key in ("priorityClassName", "runtimeClassName", "nodeSelector", "tolerations", "affinity"):
        assert key not in pod(server)
    (spread,) = pod(server)["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["labelSelector"]["matchLabels"] == server["spec"]["selector"]["matchLabels"]
    toleration, own = {"key": "gpu", "operator": "Exists"}, {"key": "mig", "operator": "Exists"}
    values = {
        **TENSORRT,
        "gpuClasses": [{**TWO_GPUS[0], "tolerations": [own], "nodeSelector": {"zone": "b"}, "runtimeClassName": "own"}],
        "scheduling": {
            "priorityClassName": "high",
            "runtimeClassName": "nvidia",
            "nodeSelector": {"zone": "a", "pool": "gpu"},
            "tolerations": [toleration],
            "topologySpread": {"enabled": False},
        },
    }
    placed = [item for item in render(values) if item["kind"] in ("Deployment", "Job")]
    assert len(placed) == 2
    for item in placed:
        assert pod(item)["priorityClassName"] == "high"
        assert pod(item)["runtimeClassName"] == "own"
        assert pod(item)["nodeSelector"] == {"zone": "b", "pool": "gpu"}
        assert pod(item)["tolerations"] == [toleration, own]
        assert "topologySpreadConstraints" not in pod(item)


def test_disruption_budget(plain: Objects, render: Render, one: One) -> None:
    assert one(plain, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert one(render({"podDisruptionBudget": {"maxUnavailable": "50%"}}), "PodDisruptionBudget")["spec"][
        "maxUnavailable"
    ] == "50%"  # fmt: skip
    assert "PodDisruptionBudget" not in kinds(render({"podDisruptionBudget": {"enabled": False}}))


def test_autoscaling_leaves_the_replicas_to_the_autoscaler(server: dict[str, Any], render: Render, one: One) -> None:
    assert server["spec"]["replicas"] == 1
    objects = render({"autoscaling": {"mode": "hpa", "maxReplicas": 9}})
    assert "replicas" not in one(objects, "Deployment")["spec"]
    assert "ScaledObject" not in kinds(objects)
    spec = one(objects, "HorizontalPodAutoscaler")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 9)
    assert spec["scaleTargetRef"]["name"] == "rel-tumorctl-cpu"
    metrics = {m["pods"]["metric"]["name"]: m["pods"]["target"]["averageValue"] for m in spec["metrics"]}
    assert metrics == {"tumorctl_queue_microseconds": "20000", "tumorctl_pending_requests": "8"}
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 600


def test_keda_scales_each_class_on_its_own_pods(render: Render, one: One) -> None:
    values = {
        **TENSORRT,
        "autoscaling": {
            "mode": "keda",
            "minReplicas": 2,
            "keda": {"prometheusAddress": "https://prometheus.example", "authenticationRef": "prometheus"},
        },
    }
    objects = render(values)
    assert "HorizontalPodAutoscaler" not in kinds(objects)
    spec = one(objects, "ScaledObject", "rel-tumorctl-mig")["spec"]
    assert spec["scaleTargetRef"]["name"] == "rel-tumorctl-mig"
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 4)
    for trigger in spec["triggers"]:
        assert 'namespace="clinic",pod=~"rel-tumorctl-mig-' in trigger["metadata"]["query"]
        assert trigger["authenticationRef"] == {"name": "prometheus"}
