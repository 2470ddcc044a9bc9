"""What is asked of the machine: its GPU, its TensorRT, the release that will serve."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tumor_export.engines import toolchain
from tumor_export.engines.errors import BuildError, NoGpu, NoTensorRT, WrongTensorRT
from tumor_export.engines.gpu import Gpu, driver_version, find_gpu
from tumor_export.engines.releases import check_release, check_version
from tumor_export.engines.toolchain import find_toolchain, import_tensorrt
from tumorctl.errors import ModelError


class Driver:
    """Stands in for CUDA's driver library, of which there is none without a GPU: writes where pointers point."""

    def __init__(self, devices: int = 1, status: int = 0) -> None:
        self.devices, self.status = devices, status

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuDeviceGetCount(self, to: Any) -> int:
        return self._write(to, self.devices)

    def cuDeviceGet(self, to: Any, ordinal: int) -> int:
        return self._write(to, ordinal)

    def cuDeviceGetName(self, to: Any, size: int, device: Any) -> int:
        to.value = b"NVIDIA H100 80GB HBM3"
        return 0

    def cuDeviceTotalMem_v2(self, to: Any, device: Any) -> int:
        return self._write(to, 85_000_000_000)

    def cuDeviceGetAttribute(self, to: Any, attribute: int, device: Any) -> int:
        return self._write(to, {75: 9, 76: 0}[attribute])

    def cuDriverGetVersion(self, to: Any) -> int:
        return self._write(to, 13040)

    @staticmethod
    def _write(to: Any, value: int) -> int:
        to._obj.value = value
        return 0


def test_a_gpu_is_described() -> None:
    found = find_gpu(Driver())
    assert found == Gpu("NVIDIA H100 80GB HBM3", "9.0", 85_000_000_000, "13.4", found.driver)
    assert found.tag == "sm90"


def test_no_gpu_is_a_typed_error() -> None:
    with pytest.raises(NoGpu, match="CUDA sees no GPU"):
        find_gpu(Driver(devices=0))
    with pytest.raises(NoGpu, match="error 100"):
        find_gpu(Driver(status=100))
    assert issubclass(NoGpu, BuildError)
    assert issubclass(BuildError, ModelError)


def test_a_machine_without_a_driver_is_told_where_to_build() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        with pytest.raises(NoGpu, match="on the GPU server"):
            find_gpu()
    else:
        assert find_gpu().compute_capability


def test_the_drivers_version_is_read(tmp_path: Path) -> None:
    file = tmp_path / "version"
    file.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  610.43.02  Release Build\nGCC version:  13\n"
    )
    assert driver_version(file) == "610.43.02"
    assert driver_version(tmp_path / "none") == ""


@pytest.mark.parametrize("version", ["10.12.0.36", "10.16.1.11", "11.4.0.106"])
def test_strongly_typed_versions_are_taken(version: str) -> None:
    check_version(version)


@pytest.mark.parametrize("version", ["8.6.1", "10.11.0.33"])
def test_older_versions_are_refused(version: str) -> None:
    with pytest.raises(WrongTensorRT, match=r"too old: use 10\.12 or newer"):
        check_version(version)


def test_a_release_has_its_tensorrt() -> None:
    check_release("11.1.0.106", "26.07", {})
    with pytest.raises(
        WrongTensorRT, match=r"Triton 26\.07 has TensorRT 11\.1\.0\.106, this is 11\.4\.0\.106: build in"
    ):
        check_release("11.4.0.106", "26.07", {})


def test_the_container_of_the_release_is_right_whatever_is_known() -> None:
    check_release("11.1.0.999", "26.07", {"NVIDIA_TENSORRT_VERSION": "26.07"})


def test_an_unknown_release_needs_the_container_of_that_release() -> None:
    check_release("11.9.0.1", "27.01", {"NVIDIA_TENSORRT_VERSION": "27.01"})
    with pytest.raises(WrongTensorRT, match=r"27\.01 is not known here \(only of 26\.07, 26\.08\)"):
        check_release("11.9.0.1", "27.01", {"NVIDIA_TENSORRT_VERSION": "26.12"})
    with pytest.raises(WrongTensorRT, match="is not a Triton release"):
        check_release("11.9.0.1", "2.51", {})


def test_missing_tensorrt_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(NoTensorRT, match="TensorRT is not installed: use NVIDIA's TensorRT container"):
        import_tensorrt()


def test_tensorrt_without_its_libraries_is_a_typed_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the bindings behave where the libraries are not found."""
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.11: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(NoTensorRT, match=r"cannot be loaded \(libnvinfer\.so\.11"):
        import_tensorrt()


def test_the_toolchain_checks_gpu_version_and_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module and a GPU stand in for TensorRT and its GPU; nothing is built."""
    monkeypatch.setattr(toolchain, "find_gpu", lambda: find_gpu(Driver()))
    module = ModuleType("tensorrt")
    module.__version__ = "10.11.0.33"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    with pytest.raises(WrongTensorRT, match="too old"):
        find_toolchain()
    module.__version__ = "11.4.0.106"  # type: ignore[attr-defined]
    with pytest.raises(WrongTensorRT, match=r"Triton 26\.07 has TensorRT 11\.1"):
        find_toolchain("26.07")
