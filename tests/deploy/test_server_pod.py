"""The server's pod: its image, arguments, resources, probes."""

from __future__ import annotations

from typing import Any

from chart_objects import One, Render, arguments, pod, triton


def test_a_digest_wins_over_the_tag(server: dict[str, Any], render: Render, one: One) -> None:
    assert triton(server)["image"] == "tumorctl/server:0.1.0"
    image: dict[str, Any] = {"repository": "registry.example/triton", "tag": "7"}
    assert triton(one(render({"images": {"server": image}}), "Deployment"))["image"] == "registry.example/triton:7"
    image["digest"] = "sha256:" + "a" * 64
    both = triton(one(render({"images": {"server": image}}), "Deployment"))["image"]
    assert both == "registry.example/triton@sha256:" + "a" * 64


def test_triton_is_told_to_be_strict(server: dict[str, Any]) -> None:
    given = arguments(server)
    assert given["--model-control-mode"] == "none"
    assert given["--strict-readiness"] == given["--exit-on-error"] == "true"
    assert "--disable-auto-complete-config" in given
    assert given["--model-config-name"] == "onnxruntime"
    assert given["--allow-gpu-metrics"] == "false"


def test_shared_memory_counts_into_the_memory_limit(server: dict[str, Any], render: Render, one: One) -> None:
    def sizes(item: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
        resources = triton(item)["resources"]
        (shm,) = (volume for volume in pod(item)["volumes"] if volume["name"] == "shm")
        return resources["requests"]["memory"], resources["limits"]["memory"], shm["emptyDir"]

    assert sizes(server) == ("5120Mi", "5120Mi", {"medium": "Memory", "sizeLimit": "1024Mi"})
    other = render({"server": {"resources": {"memoryMi": 1000, "sharedMemoryMi": 200}}})
    assert sizes(one(other, "Deployment")) == ("1200Mi", "1200Mi", {"medium": "Memory", "sizeLimit": "200Mi"})
    mounts = {mount["mountPath"] for mount in triton(server)["volumeMounts"]}
    assert {"/dev/shm", "/tmp", "/models"} == mounts


def test_cpu_limit(server: dict[str, Any], render: Render, one: One) -> None:
    assert "cpu" not in triton(server)["resources"]["limits"]
    limited = render({"server": {"resources": {"cpuLimit": "4"}}})
    assert triton(one(limited, "Deployment"))["resources"]["limits"]["cpu"] == "4"


def test_draining_fits_into_the_grace_period(server: dict[str, Any], render: Render, one: One) -> None:
    assert triton(server)["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "15"]
    assert arguments(server)["--exit-timeout-secs"] == "30"
    assert pod(server)["terminationGracePeriodSeconds"] == 60
    slow = render({"server": {"preStopSeconds": 5, "exitTimeoutSeconds": 90, "terminationGracePeriodSeconds": 100}})
    assert triton(one(slow, "Deployment"))["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "5"]
    assert arguments(one(slow, "Deployment"))["--exit-timeout-secs"] == "90"


def test_probes(server: dict[str, Any], render: Render, one: One) -> None:
    startup = triton(server)["startupProbe"]
    assert startup["httpGet"] == {"path": "/v2/health/ready", "port": "http"}
    assert (startup["failureThreshold"], startup["periodSeconds"]) == (60, 5)
    assert triton(server)["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert triton(server)["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    slow = one(render({"probes": {"startup": {"budgetSeconds": 901, "periodSeconds": 10}}}), "Deployment")
    assert triton(slow)["startupProbe"]["failureThreshold"] == 91
    assert slow["spec"]["progressDeadlineSeconds"] > 901


def test_connections_are_renewed_so_that_new_pods_get_traffic(server: dict[str, Any], render: Render, one: One) -> None:
    assert arguments(server)["--grpc-max-connection-age"] == "300000"
    assert arguments(server)["--grpc-max-connection-age-grace"] == "60000"
    other = one(render({"server": {"maxConnectionAgeSeconds": 30}}), "Deployment")
    assert arguments(other)["--grpc-max-connection-age"] == "30000"


def test_extra_arguments_annotations_and_labels(render: Render, one: One) -> None:
    extra = {"extraArgs": ["--log-info=false"], "podAnnotations": {"a": "b"}, "podLabels": {"c": "d"}}
    item = one(render({"server": extra}), "Deployment")
    assert triton(item)["args"][-1] == "--log-info=false"
    metadata = item["spec"]["template"]["metadata"]
    assert metadata["annotations"]["a"] == "b"
    assert metadata["labels"]["c"] == "d"
