"""Programs from Debian packages that tests run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def program(name: str) -> str:
    """Where a program is, or a visible skip."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed: tests/install_debian.sh installs it where it runs as root")
    return found


def dicom_errors(file: Path) -> list[str]:
    """What dciodvfy finds wrong with a DICOM file, warnings left out."""
    checked = subprocess.run(
        [program("dciodvfy"), "-new", file], capture_output=True, text=True, errors="replace", timeout=60
    )
    lines = (checked.stdout + checked.stderr).splitlines()
    assert any("Error" not in line and "Warning" not in line for line in lines), "dciodvfy names no kind of object"
    return [line for line in lines if line.startswith("Error")]
