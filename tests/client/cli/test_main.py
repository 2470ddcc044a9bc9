from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tumorctl import __version__


def test_the_module_is_the_command() -> None:
    script = Path(sys.executable).with_name("tumorctl")
    said = [
        subprocess.run([*command, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
        for command in ([sys.executable, "-m", "tumorctl"], [script])
    ]
    assert said == [f"tumorctl {__version__}\n"] * 2


def test_its_usage_names_what_was_called() -> None:
    command = [sys.executable, "-m", "tumorctl", "predict"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "Usage: python -m tumorctl predict" in done.stderr
