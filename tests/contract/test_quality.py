"""The shipped networks on the test patients, end to end through the command line: a floor, not the figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tumor_training.splits import read_split

TUMORCTL = Path(sys.executable).with_name("tumorctl")


@pytest.fixture
def telling_slices(held_out_patients: Path, tmp_path: Path) -> Path:
    """All the test patients, with every second slice that shows tumour and every eighth of the others.

    The floors are about tumour that is missed or outlined wrongly; the model card has the figures of all slices.
    """
    for patient in read_split().test:
        (tmp_path / "slices" / patient).mkdir(parents=True)
        seen = {True: 0, False: 0}
        for label in sorted(held_out_patients.glob(f"{patient}/*_mask.tif")):
            shows_tumor = bool(np.asarray(Image.open(label)).any())
            seen[shows_tumor] += 1
            if seen[shows_tumor] % (2 if shows_tumor else 8):
                continue
            for path in (label, label.with_name(label.name.replace("_mask", ""))):
                (tmp_path / "slices" / patient / path.name).hardlink_to(path)
    return tmp_path / "slices"


@pytest.mark.timeout(900)
def test_patients_nobody_trained_on(telling_slices: Path, tmp_path: Path) -> None:
    """Without intervals and pictures, which have tests of their own."""
    options = ["--part", "test", "--resamples", "0", "--worst", "0", "--json"]
    done = subprocess.run(
        [TUMORCTL, "evaluate", telling_slices, "--output", tmp_path / "out", *options],
        capture_output=True,
        text=True,
        timeout=840,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures == json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(figures["dice"]) == set(read_split().test)
    assert figures["positive_slices"] > 100
    assert figures["slices"] > 1.3 * figures["positive_slices"]
    assert figures["auc"] >= 0.97
    assert figures["dice_mean"] >= 0.80
    assert figures["gate_sensitivity_large"] >= 0.95
