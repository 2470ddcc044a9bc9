"""The shipped networks on the test patients, end to end through the command line: a floor, not the figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tumor_training.splits import read_split

TUMORCTL = Path(sys.executable).with_name("tumorctl")


@pytest.mark.timeout(900)
def test_patients_nobody_trained_on(held_out_patients: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [TUMORCTL, "evaluate", held_out_patients, "--part", "test", "--output", tmp_path, "--json"],
        capture_output=True,
        text=True,
        timeout=840,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures == json.loads((tmp_path / "metrics.json").read_text())
    assert set(figures["dice"]) == set(read_split().test)
    assert figures["auc"] >= 0.97
    assert figures["dice_mean"] >= 0.80
    assert figures["gate_sensitivity_large"] >= 0.95
