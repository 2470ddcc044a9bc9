"""The container images' recipes: linted by the real hadolint, and true to the repository."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tumorctl import __version__

DOCKER = Path(__file__).parents[2] / "deploy" / "docker"
RECIPES = sorted(DOCKER.glob("*.Dockerfile"))


def test_there_is_a_recipe_for_each_image_of_the_chart(chart: Path) -> None:
    named = set(re.findall(r"repository: tumorctl/(\S+)", (chart / "values.yaml").read_text("utf-8")))
    assert {path.name.removesuffix(".Dockerfile") for path in RECIPES} == named
    targets = set(re.findall(r'^target "(\S+)"', (DOCKER / "bake.hcl").read_text("utf-8"), re.MULTILINE))
    assert targets - {"common"} == named


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(recipe: Path, tool: Callable[[str], str]) -> None:
    names = ["title", "description", "version", "revision", "licenses"]
    labels = [f"--require-label=org.opencontainers.image.{name}:text" for name in names]
    done = subprocess.run([tool("hadolint"), *labels, recipe], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_nothing_runs_as_root(recipe: Path) -> None:
    instructions = re.findall(r"^(FROM|USER)\s+(.+)$", recipe.read_text("utf-8"), re.MULTILINE)
    assert instructions[-1] == ("USER", "1000:1000")


@pytest.mark.parametrize("image", ["server", "engine-builder"])
def test_onnx_runtime_is_told_to_report_nothing(image: str) -> None:
    """The client's image has no inference engine."""
    last = (DOCKER / f"{image}.Dockerfile").read_text("utf-8").rpartition("\nFROM ")[2].replace("\\\n", "")
    assert re.search(r"^ENV (?:\S+ +)*ORT_DISABLE_TELEMETRY=1(?: |$)", last, re.MULTILINE)


def test_server_and_engines_are_of_one_release(chart: Path) -> None:
    release = re.compile(r'(?:tritonserver:|tensorrt:|NVIDIA_RELEASE" \{ default = ")(\d\d\.\d\d)')
    found = [match for path in (*RECIPES, DOCKER / "bake.hcl") for match in release.findall(path.read_text("utf-8"))]
    assert found == ["26.07"] * 3
    assert yaml.safe_load((chart / "values.yaml").read_text("utf-8"))["engines"]["tritonRelease"] == "26.07"


def test_versions_are_tumorctls() -> None:
    for path in (*RECIPES, DOCKER / "bake.hcl"):
        versions = re.findall(r'VERSION(?:=|" \{ default = ")(\d+\.\d+\.\d+)', path.read_text("utf-8"))
        assert set(versions) == {__version__}


def test_what_is_copied_is_in_the_build_context() -> None:
    root = DOCKER.parents[1]
    allowed = re.findall(r"^!(\S+)$", (root / ".dockerignore").read_text("utf-8"), re.MULTILINE)
    assert all((root / name).exists() for name in allowed)
    for path in RECIPES:
        for source in re.findall(r"^COPY (?:--(?!from)\S+ )*(?!--from)(\S+) ", path.read_text("utf-8"), re.MULTILINE):
            assert source == "." or source in allowed, (path.name, source)
