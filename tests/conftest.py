"""Fixtures that many tests share: synthetic and real data, the real server, and the rule that CI may not skip."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tumorctl import TumorClient
from tumorctl.config import bundled_repository
from tumorctl.errors import TumorctlError
from tumorctl.serving.triton import ServeOptions, TritonServer

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "samples"
SHARED_DATA = Path(os.environ.get("TUMORCTL_TEST_DATA", ROOT.parent / "shared" / "data"))
FORBID_SKIPPING = os.environ.get("TUMORCTL_FORBID_SKIP") == "1"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Where skipping is forbidden, a missing server, tool or data folder is a failure."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if FORBID_SKIPPING and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipping is forbidden here: {report.longrepr}"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("TUMORCTL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="session")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in the Kaggle layout with six real patients, spread over the sites: about 200 slices."""
    return unpack_patients(tmp_path_factory.mktemp("patients"), "--patients", "6")


def unpack_patients(folder: Path, *arguments: str) -> Path:
    """Unpack real patients, or skip where the data is absent."""
    script = SHARED_DATA / "unpack_lgg.py"
    if not script.is_file():
        pytest.skip(f"the LGG slices are not at {SHARED_DATA} (set TUMORCTL_TEST_DATA)")
    subprocess.run([sys.executable, script, folder, *arguments], check=True, stdout=subprocess.DEVNULL, timeout=200)
    return folder / "kaggle_3m"


def free_port() -> int:
    """A port on the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def serve_options(folder: Path, repository: Path | None = None) -> ServeOptions:
    """A server on free ports of the loopback address, with its log in a folder."""
    return ServeOptions(
        repository=repository or bundled_repository(),
        log_file=folder / "triton.log",
        grpc_port=free_port(),
        http_port=free_port(),
        metrics_port=free_port(),
    )


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """The real Triton with the shipped networks."""
    try:
        server = TritonServer(serve_options(tmp_path_factory.mktemp("triton")))
    except TumorctlError as error:
        pytest.skip(f"no embedded Triton here: {error}")
    with server:
        yield server


@pytest.fixture(params=["local", "triton"])
def client(request: pytest.FixtureRequest) -> Iterator[TumorClient]:
    """A client of each engine in turn: both must behave alike."""
    url = request.getfixturevalue("triton").grpc_url if request.param == "triton" else None
    with TumorClient(url) as made:
        yield made


@pytest.fixture(scope="session")
def phantoms() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The made-up brain with a tumour, uint8, shape (7, 256, 256, 3); slices 3 to 6 show the tumour."""
    files = [SAMPLES / "phantom-tumor" / f"phantom-tumor_{number}.png" for number in range(1, 8)]
    return np.stack([np.asarray(Image.open(file)) for file in files])
