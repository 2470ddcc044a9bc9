from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from tumorctl.serving.triton import TritonServer

TUMORCTL = Path(sys.executable).with_name("tumorctl")


def doctor(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TUMORCTL, "doctor", *arguments], capture_output=True, text=True, timeout=60, env={**os.environ, **variables}
    )


def test_all_is_well(triton: TritonServer) -> None:
    done = doctor("--url", triton.grpc_url, "--json")
    assert done.returncode == 0, done.stderr
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)}
    builds_engines = findings.pop("TensorRT")
    assert builds_engines["ok"] is (importlib.util.find_spec("tensorrt") is not None)
    assert "engines" in builds_engines["detail"]
    assert {name: finding["ok"] for name, finding in findings.items()} == {
        "networks": True,
        "local engine": True,
        "whole studies": True,
        "embedded server": True,
        "server": True,
    }
    assert triton.grpc_url in findings["server"]["detail"]


def test_no_server() -> None:
    done = doctor(TUMORCTL_URL="127.0.0.1:9")
    assert done.returncode == 4
    assert "missing  server: no Triton server answers at 127.0.0.1:9" in done.stdout


def test_no_networks(tmp_path: Path) -> None:
    done = doctor(TUMORCTL_MODEL_REPOSITORY=str(tmp_path))
    assert done.returncode == 1
    assert "missing  networks:" in done.stdout
    assert "missing  local engine:" in done.stdout
