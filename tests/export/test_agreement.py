from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tumor_export.agreement import ParityError, Tolerance, compare_masks, compare_probabilities, onnx_runtime
from tumorctl.contract import CLASSIFIER, SEGMENTER

Images = npt.NDArray[np.uint8]
TOLERANCE = Tolerance(max_error=1e-2, min_dice=0.995)


def test_the_size_of_a_batch_changes_nothing(small_networks: Path, phantoms: Images) -> None:
    path = small_networks / SEGMENTER / "1" / "model.onnx"
    np.testing.assert_allclose(onnx_runtime(path)(phantoms), onnx_runtime(path, 7)(phantoms), atol=1e-6)


def test_answers_of_other_shapes_are_no_answers() -> None:
    wanted = np.zeros((3, 1), np.float32)
    with pytest.raises(ParityError, match="answers have shapes"):
        compare_probabilities("other", wanted, wanted[:2], TOLERANCE)


@pytest.mark.parametrize(("error", "passes"), [(0.009, True), (0.011, False), (np.nan, False)])
def test_probabilities_agree_within_the_tolerance(error: float, passes: bool) -> None:
    wanted = np.full((3, 1), 0.5, np.float32)
    got = wanted + np.array([[0], [error], [0]], np.float32)
    if passes:
        assert compare_probabilities("this", wanted, got, TOLERANCE).max_error == pytest.approx(error, rel=1e-3)
    else:
        with pytest.raises(ParityError, match="this: a probability is off by"):
            compare_probabilities("this", wanted, got, TOLERANCE)


def test_without_masks_the_probabilities_are_compared() -> None:
    wanted = np.full((1, 4, 4), 0.2, np.float32)
    assert compare_masks("this", wanted, wanted + np.float32(0.005), 0.5, TOLERANCE).dice == 1
    with pytest.raises(ParityError, match="off by"):
        compare_masks("this", wanted, wanted + np.float32(0.05), 0.5, TOLERANCE)


def test_onnx_runtime_reports_nothing(small_networks: Path, tmp_path: Path) -> None:
    """Its telemetry makes a device id and a database in the home folder before it sends anything."""
    path = small_networks / CLASSIFIER / "1" / "model.onnx"
    program = (
        f"from tumor_export.agreement import onnx_runtime; from pathlib import Path; onnx_runtime(Path({str(path)!r}))"
    )
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120, env={**kept, "HOME": str(home)})
    assert [item for item in home.rglob("*") if item.is_file() and item.suffix != ".pyc"] == []
