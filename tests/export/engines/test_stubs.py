"""The calls into TensorRT, checked against the signatures of both major versions, on a machine that has neither."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
VERSIONS = ("10.16.1.11", "11.4.0.106")
Stubs = dict[str, Path]


# A first check, without a cache, reads PyTorch too: half a minute, or minutes where others compute.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Stubs:
    """A folder of stubs for each version."""
    if platform.system() != "Linux" or sys.version_info >= (3, 14):
        pytest.skip("TensorRT's bindings are for Linux and CPython up to 3.13")
    made = {}
    for version in VERSIONS:
        made[version] = tmp_path_factory.mktemp("stubs") / version
        command = [sys.executable, str(Path(__file__).with_name("stubs.py")), str(made[version]), version]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        if "pip failed" in done.stderr or "-m failed" in done.stderr:
            pytest.skip(f"the bindings of TensorRT {version} cannot be downloaded here: {done.stderr[-300:]}")
        assert done.returncode == 0, done.stderr
    return made


def check(stubs: Path, *targets: Path | str) -> subprocess.CompletedProcess[str]:
    """Check with mypy as the project does, but with TensorRT's stubs at hand."""
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", ".mypy_cache/tensorrt", *targets]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=900, env={**os.environ, "MYPYPATH": str(stubs)}
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_the_export_passes_strict_checks_against_the_stubs(stubs: Stubs, version: str) -> None:
    stub = (stubs[version] / "tensorrt" / "tensorrt.pyi").read_text("utf-8")
    assert "def build_serialized_network" in stub
    done = check(stubs[version], "export")
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("Success")


def test_the_check_catches_what_tensorrt_11_no_longer_has(stubs: Stubs, tmp_path: Path) -> None:
    """Otherwise the checks above could pass because nothing was looked at."""
    program = tmp_path / "weakly_typed.py"
    program.write_text(
        "import tensorrt as trt\n"
        "builder = trt.Builder(trt.Logger())\n"
        "config = builder.create_builder_config()\n"
        "config.set_flag(trt.BuilderFlag.FP16)\n"
    )
    assert check(stubs["10.16.1.11"], program).returncode == 0
    done = check(stubs["11.4.0.106"], program)
    assert done.returncode == 1
    assert 'type[BuilderFlag]" has no attribute "FP16"' in done.stdout
    program.write_text(program.read_text() + "config.max_workspace_size = 1\n")
    assert "max_workspace_size" in check(stubs["10.16.1.11"], program).stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_the_check_sees_the_builder(stubs: Stubs, version: str, tmp_path: Path) -> None:
    """A wrong call in a copy of the very file that calls TensorRT is found."""
    source = (ROOT / "export" / "tumor_export" / "engines" / "builder.py").read_text("utf-8")
    call = "config.add_optimization_profile(profile)"
    assert source.count(call) == 1
    program = tmp_path / "builder_with_a_fault.py"
    program.write_text(source.replace(call, "config.add_profile(profile)"))
    done = check(stubs[version], program)
    assert done.returncode == 1
    assert '"IBuilderConfig" has no attribute "add_profile"' in done.stdout
