"""TensorRT engines: a Deployment and a Job for each class of GPUs, and the volume between them."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from chart_objects import TENSORRT, TWO_GPUS, Objects, One, Render, arguments, kinds, pod, triton
from tumor_export.cli import export


def test_a_deployment_for_each_gpu_class(render: Render, one: One) -> None:
    objects = render(TENSORRT)
    h100, mig = one(objects, "Deployment", "rel-tumorctl-h100"), one(objects, "Deployment", "rel-tumorctl-mig")
    assert (h100["spec"]["replicas"], mig["spec"]["replicas"]) == (3, 1)
    assert triton(h100)["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert triton(mig)["resources"]["limits"]["nvidia.com/mig-1g.10gb"] == 2
    (term,) = pod(h100)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term["matchExpressions"] == [
        {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-H100-PCIe"]}
    ]
    assert "affinity" not in pod(mig)
    assert h100["spec"]["selector"] != mig["spec"]["selector"]
    assert arguments(h100)["--allow-gpu-metrics"] == "true"
    assert "--model-config-name" not in arguments(h100)


def test_an_engine_job_for_each_gpu_class(render: Render, plain: Objects) -> None:
    assert not {"Job", "PersistentVolumeClaim"} & kinds(plain)
    jobs = {item["metadata"]["labels"]["tumorctl/class"]: item for item in render(TENSORRT) if item["kind"] == "Job"}
    assert set(jobs) == {"h100", "mig"}
    prepare, build = pod(jobs["mig"])["initContainers"]
    command = build["args"][build["args"].index("--") + 1 :]
    assert command == ["tumorctl", "export", "tensorrt", "--repository=/models", "--triton-release=26.07", "--phantoms"]
    assert build["resources"]["limits"]["nvidia.com/mig-1g.10gb"] == 2
    assert build["image"] == "tumorctl/engine-builder:0.1.0"
    assert not any(argument.startswith("--engines") for argument in prepare["args"])
    servers = {
        item["metadata"]["labels"]["tumorctl/class"]: item for item in render(TENSORRT) if item["kind"] == "Deployment"
    }
    kept = {"--engines=/engines", "--engine-class=mig", "--built-by=tumorctl/engine-builder:0.1.0 sm 9.0"}
    assert kept < set(triton(jobs["mig"])["args"])
    assert kept < set(pod(servers["mig"])["initContainers"][0]["args"])


def test_the_builders_command_is_one_that_tumorctl_has(render: Render) -> None:
    job = next(item for item in render(TENSORRT) if item["kind"] == "Job")
    build = pod(job)["initContainers"][-1]
    _, group, *command = build["args"][build["args"].index("--") + 1 :]
    assert group == "export"
    done = CliRunner().invoke(export, [command[0], "--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    options = {option.partition("=")[0] for option in command if option.startswith("--")}
    assert all(option in done.output for option in options)


def test_a_job_is_made_anew_only_for_another_builder_or_model(render: Render) -> None:
    def names(more: dict[str, Any]) -> set[str]:
        return {item["metadata"]["name"] for item in render(TENSORRT | more) if item["kind"] == "Job"}

    assert names({}) == names({"replicas": 7}) == names({"tls": {"mode": "server", "secretName": "grpc"}})
    assert not names({}) & names({"images": {"engineBuilder": {"tag": "next"}}})
    assert not names({}) & names({"models": {"source": "pvc", "pvc": {"claimName": "models"}}})


def test_what_servers_do_without_engines(render: Render) -> None:
    def waits(values: dict[str, Any]) -> set[str]:
        (item, _) = (item for item in render(TENSORRT | values) if item["kind"] == "Deployment")
        return set(pod(item)["initContainers"][0]["args"])

    assert {"--wait-s=900", "--when-missing=fallback"} < waits({})
    assert {"--wait-s=5", "--when-missing=fail"} < waits({"engines": {"waitSeconds": 5, "whenMissing": "fail"}})


def test_the_only_gpu_builds_its_own_engines(render: Render, one: One) -> None:
    values = {"runtime": "tensorrt", "gpuClasses": TWO_GPUS[:1], "engines": {"buildIn": "pod"}}
    objects = render(values)
    assert "Job" not in kinds(objects)
    item = one(objects, "Deployment")
    steps = {container["name"]: container for container in pod(item)["initContainers"]}
    assert list(steps) == ["models", "build", "publish", "engines"]
    assert steps["build"]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert not any(argument.startswith("--wait-s") for argument in steps["engines"]["args"])
    (volume,) = (volume for volume in pod(item)["volumes"] if volume["name"] == "engines")
    assert "readOnly" not in volume["persistentVolumeClaim"]
    assert item["spec"]["progressDeadlineSeconds"] > 3600


@pytest.mark.parametrize("where", ["job", "pod"])
def test_what_loads_onnx_runtime_tells_it_to_report_nothing(where: str, render: Render) -> None:
    objects = render(TENSORRT | {"gpuClasses": TWO_GPUS[:1], "engines": {"buildIn": where}})
    containers = [
        container
        for item in objects
        if item["kind"] in ("Deployment", "Job")
        for container in (*pod(item).get("initContainers", []), *pod(item)["containers"])
        if container["name"] in ("build", "triton")
    ]
    assert len(containers) == 2
    for container in containers:
        environment = {entry["name"]: entry.get("value") for entry in container["env"]}
        assert environment["ORT_DISABLE_TELEMETRY"] == "1"
        assert environment["HOME"] == "/tmp"


def test_the_engines_volume(render: Render, one: One) -> None:
    claim = one(render(TENSORRT), "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    objects = render({**TENSORRT, "engines": {"volume": {"existingClaim": "ours"}}})
    assert "PersistentVolumeClaim" not in kinds(objects)
    (volume,) = (v for v in pod(one(objects, "Deployment", "rel-tumorctl-mig"))["volumes"] if v["name"] == "engines")
    assert volume["persistentVolumeClaim"] == {"claimName": "ours", "readOnly": True}
