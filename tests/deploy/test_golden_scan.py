"""What ``helm test`` sends, sent to a real server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tumorctl.serving.triton import TritonServer

SAMPLES = Path(__file__).parents[2] / "samples"
Ask = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ask(chart: Path, triton: TritonServer) -> Ask:
    def run(samples: Path, url: str = triton.grpc_url) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-B", chart / "files" / "golden_scan.py", samples],
            env={**os.environ, "TUMORCTL_URL": url},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run


def test_the_golden_scans_pass(ask: Ask) -> None:
    done = ask(SAMPLES)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["phantom-tumor", "phantom-healthy"]


def test_a_wrong_answer_fails(ask: Ask, tmp_path: Path) -> None:
    shutil.copytree(SAMPLES, tmp_path / "samples")
    scan = tmp_path / "samples" / "phantom-healthy"
    shutil.copy(tmp_path / "samples" / "phantom-tumor" / "phantom-tumor_4.png", scan / "phantom-healthy_4.png")
    done = ask(tmp_path / "samples")
    assert done.returncode == 1
    assert "phantom-healthy: tumour in slices" in done.stderr


def test_a_server_that_is_not_there_fails(ask: Ask) -> None:
    assert ask(SAMPLES, "127.0.0.1:1").returncode != 0
