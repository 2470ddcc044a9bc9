"""Rendering the chart with the real Helm, starting the real Triton as rendered; what is missing is a visible skip."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart_objects import Objects, One, Render, triton
from embedded_triton import need_triton
from tumorctl.serving.triton import CONFIGURATION, LOOPBACK, ServeOptions, TritonServer

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "tumorctl"
ENVIRONMENT = Path(sys.executable).parent
"""Where tests/deploy/install_tools.sh puts what the Python packages do not bring."""

YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it is compiled
Tool = Callable[[str], str]

_CONTAINER_PATH = re.compile(r"(?<==)/(tls|models)\b")


def find_tool(name: str) -> str:
    """Path of a tool in this environment or on the PATH; the test is skipped where there is none."""
    found = shutil.which(name, path=str(ENVIRONMENT)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: `make test` runs tests/deploy/install_tools.sh, which says why")
    return found


@pytest.fixture(scope="session")
def tool() -> Tool:
    """Finds a tool, or skips."""
    return find_tool


@pytest.fixture(scope="session")
def chart() -> Path:
    return CHART


@pytest.fixture(scope="session")
def profiles() -> dict[str, Path]:
    """The values files of ci/, by name."""
    return {path.name.removesuffix("-values.yaml"): path for path in sorted((CHART / "ci").glob("*-values.yaml"))}


@pytest.fixture(scope="session")
def helm_template(tool: Tool) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``helm template``, with values as a mapping."""
    helm = tool("helm")

    def run(
        values: dict[str, Any] | None = None,
        *,
        files: tuple[Path, ...] = (),
        kubernetes: str = "1.34.0",
        apis: tuple[str, ...] = (),
        release: str = "rel",
        more: tuple[str, ...] = (),
    ) -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [
            helm,
            "template",
            release,
            CHART,
            "--namespace",
            "clinic",
            "--kube-version",
            kubernetes,
        ]
        for file in files:
            command += ["--values", file]
        for api in apis:
            command += ["--api-versions", api]
        return subprocess.run(
            [*command, "--values", "-", *more],
            input=json.dumps(values or {}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def render(helm_template: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """Objects of the chart; values as a mapping."""

    def run(values: dict[str, Any] | None = None, **options: Any) -> Objects:
        done = helm_template(values, **options)
        assert done.returncode == 0, done.stderr
        return [item for item in yaml.load_all(done.stdout, YAML) if item]

    return run


@pytest.fixture(scope="session")
def refusal(helm_template: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., str]:
    """What Helm says to values that the chart refuses."""

    def run(values: dict[str, Any], **options: Any) -> str:
        done = helm_template(values, **options)
        assert done.returncode != 0, "the chart took values that it should refuse"
        return done.stderr

    return run


@pytest.fixture(scope="session")
def one() -> One:
    """The one object of a kind, or of a kind and a name."""

    def find(objects: Objects, kind: str, name: str | None = None) -> dict[str, Any]:
        found = [item for item in objects if item["kind"] == kind and name in (None, item["metadata"]["name"])]
        assert len(found) == 1, [(item["kind"], item["metadata"]["name"]) for item in objects]
        return found[0]

    return find


@pytest.fixture(scope="session")
def plain(render: Render) -> Objects:
    """The chart as it comes."""
    return render()


@pytest.fixture(scope="session")
def server(plain: Objects, one: One) -> dict[str, Any]:
    """The server's Deployment as it comes."""
    return one(plain, "Deployment")


class ChartServer(TritonServer):
    """A Triton with the chart's arguments; only what belongs to a container is replaced.

    Args:
        options: repository, ports and log.
        objects: the chart as rendered; its first Deployment counts.
        tls: folder in the place of /tls.
        models: folder in the place of /models; by default the options' repository.
    """

    def __init__(self, options: ServeOptions, objects: Objects, tls: Path, models: Path | None = None) -> None:
        super().__init__(options)
        self.arguments = server_arguments(objects)
        self.admin_key = secrets.token_hex(16)
        self._places = {"tls": str(tls), "models": str(models or options.repository)}

    def _command(self, backends: Path) -> list[str]:
        options = self.options
        replaced: dict[str, int | str] = {
            "--http-port": options.http_port,
            "--grpc-port": options.grpc_port,
            "--metrics-port": options.metrics_port,
            "--model-config-name": CONFIGURATION,  # the embedded server has no ONNX Runtime
        }
        arguments = []
        for rendered in self.arguments:
            name, _, _ = rendered.partition("=")
            argument = f"{name}={replaced[name]}" if name in replaced else rendered
            argument = _CONTAINER_PATH.sub(lambda match: self._places[match[1]], argument)
            arguments.append(argument.replace("$(TUMORCTL_ADMIN_KEY)", self.admin_key))
        return [
            *super()._command(backends)[:1],
            *arguments,
            f"--backend-directory={backends}",
            f"--backend-config=python,shm-region-prefix-name={self._prefix}",
            *(f"--{protocol}-address={LOOPBACK}" for protocol in ("http", "grpc", "metrics")),
        ]


def server_arguments(objects: Objects) -> list[str]:
    """Triton's arguments in the first Deployment."""
    deployment = next(item for item in objects if item["kind"] == "Deployment")
    arguments: list[str] = triton(deployment)["args"]
    return arguments


@pytest.fixture(scope="session")
def chart_server() -> type[ChartServer]:
    """The class of servers that start as the chart says."""
    need_triton()
    return ChartServer
