"""TensorRT and the GPU of this machine, or the typed error that says what is missing."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from tumor_export.engines.errors import NoTensorRT
from tumor_export.engines.gpu import find_gpu
from tumor_export.engines.releases import check_release, check_version

if TYPE_CHECKING:
    from tumor_export.engines.build import Toolchain

_ADVICE = (
    "use NVIDIA's TensorRT container of the release of your Triton, or pip install 'tumorctl[tensorrt]' where NVIDIA's "
    "package index can be reached"
)


def find_toolchain(triton_release: str | None = None) -> Toolchain:
    """What builds engines on this machine.

    Args:
        triton_release: of the Triton image that will serve, such as ``26.07``; None where it is not known.

    Raises:
        NoGpu: there is no GPU that works.
        NoTensorRT: TensorRT is not installed.
        WrongTensorRT: it is too old, or not the one of the Triton release.
    """
    gpu = find_gpu()
    version = str(import_tensorrt().__version__)
    check_version(version)
    if triton_release is not None:
        check_release(version, triton_release)
    from tumor_export.engines import builder
    from tumor_export.engines.build import Toolchain

    return Toolchain(version, gpu, builder.build, builder.answers)


def import_tensorrt() -> ModuleType:
    """The module ``tensorrt``.

    Raises:
        NoTensorRT: it is not installed, or its libraries cannot be loaded.
    """
    try:
        return importlib.import_module("tensorrt")
    except ModuleNotFoundError as error:
        raise NoTensorRT(f"TensorRT is not installed: {_ADVICE}") from error
    except (ImportError, OSError, RuntimeError) as error:
        raise NoTensorRT(f"TensorRT is installed and cannot be loaded ({error}): {_ADVICE}") from error
