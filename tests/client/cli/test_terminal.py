from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tumorctl.cli.terminal import printable, printable_name

SAMPLES = Path(__file__).parents[3] / "samples"
TUMORCTL = Path(sys.executable).with_name("tumorctl")


def test_control_characters_are_escaped_and_letters_stay() -> None:
    assert printable("Schädel 脳\x1b[2J\x07\nnext\u202e") == "Schädel 脳\\x1b[2J\\x07\nnext\\u202e"
    assert printable_name("one\ntwo") == "one\\ntwo"
    assert printable("\udcff") == "\\udcff"


@pytest.fixture
def odd_scans(tmp_path: Path) -> Path:
    """A folder whose names a terminal cannot show, or would obey."""
    for name in (b"\x1b]0;owned\x07", b"\xff", "脳".encode(), b"a\nb"):
        folder = tmp_path / "scans" / os.fsdecode(name)
        folder.mkdir(parents=True)
        (folder / "1.png").symlink_to(SAMPLES / "phantom-healthy" / "phantom-healthy_1.png")
    return tmp_path / "scans"


def test_names_neither_command_the_terminal_nor_break_the_run(odd_scans: Path, tmp_path: Path) -> None:
    command: list[str | Path] = [TUMORCTL, "predict", odd_scans, "--output", tmp_path / "out"]
    for encoding in ("ascii", "utf-8"):
        done = subprocess.run(
            command, capture_output=True, timeout=100, env={**os.environ, "PYTHONIOENCODING": encoding}
        )
        assert done.returncode == 0, done.stderr
        assert b"\x1b]0" not in done.stdout
        assert b"\\x1b]0;owned" in done.stdout
        assert b"a\\nb" in done.stdout
    absent = subprocess.run([*command, "gone\x1b[2J"], capture_output=True, timeout=100)
    assert absent.returncode == 2
    assert b"gone\\x1b[2J does not exist" in absent.stderr


def test_a_full_disk_behind_stdout_and_a_closed_stdout(tmp_path: Path) -> None:
    command = f'"{TUMORCTL}" predict "{SAMPLES}" --output "{tmp_path / "out"}"'
    full = subprocess.run(["sh", "-c", f"{command} >/dev/full"], capture_output=True, text=True, timeout=100)
    assert full.returncode == 1
    assert full.stderr.endswith("error: the output could not be printed (No space left on device)\n")
    closed = subprocess.run(["sh", "-c", f"{command} >&-"], capture_output=True, text=True, timeout=100)
    assert closed.returncode == 0
    assert closed.stderr == ""
    assert (tmp_path / "out" / "studies.csv").exists()
