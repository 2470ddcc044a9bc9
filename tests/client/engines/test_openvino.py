from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import tumorctl

PROGRAM = """
import socket, sys

def refuse(*address, **options):
    raise AssertionError("something wants to reach the network")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import tumorctl.engines.openvino
from openvino.tools.ovc import telemetry_utils
print(telemetry_utils.tm.__name__, *(name for name in sys.modules if name.startswith("openvino_telemetry")))
"""


def test_openvino_reports_nothing(tmp_path: Path) -> None:
    """Left to itself it makes an identifier in the home folder when it is imported, before it sends anything."""
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    done = subprocess.run(
        [sys.executable, "-B", "-c", PROGRAM],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        env={**kept, "HOME": str(tmp_path)},
    )
    assert done.stdout.split() == ["openvino.tools.ovc.telemetry_stub"]
    assert list(tmp_path.iterdir()) == []


def test_openvino_is_imported_in_one_place() -> None:
    package = Path(tumorctl.__file__).parent
    importing = re.compile(r"^\s*(?:import|from) openvino\b", re.MULTILINE)
    found = [path.name for path in package.rglob("*.py") if importing.search(path.read_text("utf-8"))]
    assert found == ["runtime.py"]
