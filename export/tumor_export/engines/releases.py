"""Which TensorRT is in which Triton release: an engine is loaded by the version that built it and by no other."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from tumor_export.engines.errors import WrongTensorRT

OLDEST = (10, 12)
"""Strongly typed networks take the types of the graph as they are from here on."""
TENSORRT_OF = {"26.07": "11.1.0.106", "26.08": "11.2.1.2"}
"""TensorRT by Triton release: 26.07 as its image states it, 26.08 as its users report it. Older ones are not served."""
CONTAINER_VARIABLE = "NVIDIA_TENSORRT_VERSION"
"""Set in NVIDIA's TensorRT containers to their release, which holds the same TensorRT as Triton's of that release."""


def check_version(tensorrt: str) -> None:
    """See whether a TensorRT is new enough.

    Args:
        tensorrt: its version, such as ``11.1.0.106``.

    Raises:
        WrongTensorRT: it is older than `OLDEST`.
    """
    if _numbers(tensorrt)[:2] < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise WrongTensorRT(f"TensorRT {tensorrt} is too old: use {wanted} or newer, in the container of your Triton")


def check_release(tensorrt: str, release: str, environment: Mapping[str, str] = os.environ) -> None:
    """See whether a Triton release loads engines that a TensorRT builds.

    Args:
        tensorrt: version of the TensorRT that builds.
        release: of the Triton image that will serve, such as ``26.07``.
        environment: where NVIDIA's containers say which release they are.

    Raises:
        WrongTensorRT: it does not, or it is not known.
    """
    if not re.fullmatch(r"\d\d\.\d\d", release):
        raise WrongTensorRT(f"{release!r} is not a Triton release: it looks like 26.07")
    if environment.get(CONTAINER_VARIABLE) == release:
        return
    advice = f"build in NVIDIA's TensorRT container of release {release}"
    if release not in TENSORRT_OF:
        known = ", ".join(sorted(TENSORRT_OF))
        raise WrongTensorRT(f"which TensorRT is in Triton {release} is not known here (only of {known}): {advice}")
    if _numbers(tensorrt) != _numbers(TENSORRT_OF[release]):
        raise WrongTensorRT(f"Triton {release} has TensorRT {TENSORRT_OF[release]}, this is {tensorrt}: {advice}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
