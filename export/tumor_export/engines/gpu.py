"""The GPU that engines are built on, as CUDA's driver library tells."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tumor_export.engines.errors import NoGpu

_LIBRARY = "libcuda.so.1"
_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_NAME_BYTES = 96


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU and its driver.

    Attributes:
        name: as NVIDIA calls it.
        compute_capability: such as ``9.0``; an engine fits one only.
        memory_bytes: in all.
        cuda: newest CUDA version that the driver supports.
        driver: its version; empty where the kernel module does not tell.
    """

    name: str
    compute_capability: str
    memory_bytes: int
    cuda: str
    driver: str

    @property
    def tag(self) -> str:
        """The compute capability in file names: ``sm90``."""
        return f"sm{self.compute_capability.replace('.', '')}"


def find_gpu(library: Any = None) -> Gpu:
    """The GPU that CUDA uses by default here (``CUDA_VISIBLE_DEVICES`` chooses).

    Args:
        library: CUDA's driver library; by default the one installed.

    Raises:
        NoGpu: there is no driver, or no GPU.
    """
    if library is None:
        try:
            library = ctypes.CDLL(_LIBRARY)
        except OSError as error:
            raise NoGpu(
                f"no NVIDIA driver here ({_LIBRARY} is missing): build engines on the GPU server, in a container with "
                "--gpus all"
            ) from error
    _check(library.cuInit(0))
    number = _ask_int(library.cuDeviceGetCount)
    if number == 0:
        raise NoGpu("CUDA sees no GPU here: give the container one (--gpus all), or see CUDA_VISIBLE_DEVICES")
    device = ctypes.c_int()
    _check(library.cuDeviceGet(ctypes.byref(device), 0))
    name = ctypes.create_string_buffer(_NAME_BYTES)
    _check(library.cuDeviceGetName(name, _NAME_BYTES, device))
    memory = ctypes.c_size_t()
    _check(library.cuDeviceTotalMem_v2(ctypes.byref(memory), device))
    major = _ask_int(library.cuDeviceGetAttribute, _CAPABILITY_MAJOR, device)
    minor = _ask_int(library.cuDeviceGetAttribute, _CAPABILITY_MINOR, device)
    cuda = _ask_int(library.cuDriverGetVersion)
    return Gpu(
        name=name.value.decode("utf-8", "replace"),
        compute_capability=f"{major}.{minor}",
        memory_bytes=memory.value,
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
        driver=driver_version(),
    )


def driver_version(path: Path = _DRIVER_FILE) -> str:
    """Version of the kernel driver; empty where it does not tell."""
    try:
        found = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", path.read_text("utf-8", "replace"))
    except OSError:
        return ""
    return found.group(1) if found else ""


def _ask_int(function: Any, *arguments: Any) -> int:
    value = ctypes.c_int()
    _check(function(ctypes.byref(value), *arguments))
    return value.value


def _check(status: int) -> None:
    if status:
        raise NoGpu(f"CUDA's driver answers with error {status}: `nvidia-smi` may tell more")
