"""Objects of the rendered chart, as its tests look at them. Each knob: as it comes, set to something else, and off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Objects = list[dict[str, Any]]
Render = Callable[..., Objects]
One = Callable[..., dict[str, Any]]

TWO_GPUS: list[dict[str, Any]] = [
    {"name": "h100", "products": ["NVIDIA-H100-PCIe"], "computeCapability": "9.0", "replicas": 3},
    {"name": "mig", "computeCapability": "9.0", "resource": "nvidia.com/mig-1g.10gb", "count": 2},
]
TENSORRT = {"runtime": "tensorrt", "gpuClasses": TWO_GPUS}


def pod(item: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = item["spec"]["template"]["spec"]
    return spec


def triton(item: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod(item)["containers"]
    found: dict[str, Any] = container
    return found


def arguments(item: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, _, value in (argument.partition("=") for argument in triton(item)["args"])}


def kinds(objects: Objects) -> set[str]:
    return {item["kind"] for item in objects}
