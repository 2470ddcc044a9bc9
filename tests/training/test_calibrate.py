from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor, nn

from tumor_training.calibrate import (
    LARGE_TUMOR_PX,
    HeldOut,
    Scale,
    calibrate,
    choose_gate,
    choose_mask_threshold,
    fit_scale,
)
from tumor_training.dataset import SliceArrays
from tumorctl.errors import InvalidInput

Floats = npt.NDArray[np.float32]


@pytest.mark.parametrize(("temperature", "offset"), [(0.4, 0.0), (1.0, -3.0), (2.5, 1.5)])
def test_the_scale_that_the_logits_were_made_with_is_found(temperature: float, offset: float) -> None:
    random = np.random.default_rng(3)
    calibrated = random.normal(0, 3, 40_000)
    positive = random.random(40_000) < 1 / (1 + np.exp(-calibrated))
    fitted = fit_scale(((calibrated - offset) * temperature).astype(np.float32), positive)
    assert fitted.temperature == pytest.approx(temperature, rel=0.05)
    assert fitted.offset == pytest.approx(offset, abs=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_scale_is_better(seed: int) -> None:
    random = np.random.default_rng(seed)
    positive = np.arange(200) % 3 == 0
    x = (random.normal(0, 2, 200) + np.where(positive, 1.5, -1)).astype(np.float32)

    def entropy(scale: Scale) -> float:
        z = x.astype(float) / scale.temperature + scale.offset
        return float(np.mean(np.logaddexp(0, z) - positive * z))

    fitted = fit_scale(x, positive)
    for factor in (0.5, 0.8, 0.97, 1.03, 1.25, 2.0):
        assert entropy(fitted) < entropy(Scale(fitted.temperature * factor, fitted.offset))
    for shift in (-1.0, -0.1, 0.1, 1.0):
        assert entropy(fitted) < entropy(Scale(fitted.temperature, fitted.offset + shift))


@pytest.mark.parametrize("logits", [[-300, -200, 200, 300], [300, 200, -200, -300], [0, 0, 0, 0]])
def test_the_temperature_is_a_positive_number_for_any_classifier(logits: list[float]) -> None:
    fitted = fit_scale(np.array(logits, np.float32), np.array([False, False, True, True]))
    assert 0 < fitted.temperature < float("inf")
    assert np.isfinite(fitted.offset)


@given(
    probabilities=arrays.arrays(np.float32, 30, elements=st.floats(0, 1, width=32)),
    area_px=arrays.arrays(np.int64, 30, elements=st.sampled_from([0, 10, LARGE_TUMOR_PX - 1, LARGE_TUMOR_PX, 900])),
    sensitivity=st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]),
)
def test_the_gate_of_one_patient_keeps_its_sensitivity_and_no_higher_one_does(
    probabilities: Floats, area_px: npt.NDArray[np.int64], sensitivity: float
) -> None:
    large = probabilities[area_px >= LARGE_TUMOR_PX]
    assume(len(large))
    gate = choose_gate(probabilities, area_px, ["a"] * 30, sensitivity)
    assert gate == pytest.approx(round(gate, 4), abs=1e-12)
    assert (large >= np.float32(gate)).mean() >= sensitivity - 1e-9
    if gate < 1:
        assert (large.astype(float) >= gate + 1e-4 + 1e-12).mean() < sensitivity


def test_one_patient_of_ten_who_is_hard_to_see_lowers_the_gate() -> None:
    """With nine easy ones the draws without the hard one would choose 0.75; a third of the draws lack it."""
    probabilities = np.full(2000, 0.75, np.float32)
    probabilities[:20] = np.linspace(0.1, 0.2, 20)
    area_px, patients = np.full(2000, LARGE_TUMOR_PX), [str(index // 200) for index in range(2000)]
    # Of all patients together, 1 % may be lost: just the twenty.
    assert choose_gate(probabilities, area_px, ["all"] * 2000) == pytest.approx(0.75)
    assert 0.1 <= choose_gate(probabilities, area_px, patients) < 0.2
    assert choose_gate(probabilities, area_px, patients) == choose_gate(probabilities, area_px, patients)


def test_small_tumours_do_not_lower_the_gate() -> None:
    probabilities = np.array([0.9, 0.8, 0.01, 0.02], np.float32)
    area_px = np.array([80, LARGE_TUMOR_PX, LARGE_TUMOR_PX - 1, 0])
    assert choose_gate(probabilities, area_px, ["a"] * 4) == pytest.approx(0.8)


def test_a_gate_needs_a_large_tumour() -> None:
    with pytest.raises(InvalidInput, match="no validation slice has a tumour large enough"):
        choose_gate(np.array([0.5], np.float32), np.array([LARGE_TUMOR_PX - 1]), ["a"])


def test_mask_thresholds_that_patients_cannot_tell_apart_count_as_equal() -> None:
    even, uneven = np.full(16, 0.8), np.tile([0.7, 0.89], 8)
    assert choose_mask_threshold({0.3: even - 0.01, 0.5: even - 0.001, 0.8: even}) == 0.8
    assert choose_mask_threshold({0.3: uneven, 0.5: uneven - 0.001, 0.8: even}) == 0.5
    assert choose_mask_threshold({0.3: even, 0.4: uneven, 0.8: even + 0.001}) == 0.4
    noise = np.tile([-0.02, 0.02], 8)
    assert choose_mask_threshold({0.1: even - 0.2, 0.45: even - 0.001 + noise, 0.8: even}) == 0.45
    assert choose_mask_threshold({0.5: np.array([0.7]), 0.8: np.array([0.8])}) == 0.8


class BrightestPixel(nn.Module):
    """A classifier that looks for one bright pixel: its logit is 8 times (brightest - 1/2)."""

    def forward(self, images: Tensor) -> Tensor:
        return 8 * (images[:, 1].flatten(1).amax(1) - 0.5)


class Brightness(nn.Module):
    """A segmenter whose probability is the pixel's brightness."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.logit(images[:, 1:2], eps=1e-6)


def disc(radius: int) -> npt.NDArray[np.bool_]:
    rows, columns = np.mgrid[0:256, 0:256]
    return np.asarray(np.hypot(rows - 128, columns - 128) <= radius)


@pytest.fixture
def made_slices() -> SliceArrays:
    """Two patients, four slices each: tumours of brightness 0.6 in halos of 0.4, and a bright slice without tumour."""
    images, masks = np.zeros((8, 256, 256, 3), np.uint8), np.zeros((8, 256, 256), np.bool_)
    for index in (0, 1, 4, 5):
        images[index, disc(20), 1] = round(0.4 * 255)
        images[index, disc(12), 1] = round(0.6 * 255)
        masks[index] = disc(12)
    images[2, 5, 5, 1] = 255
    return SliceArrays(images, masks, ("a",) * 4 + ("b",) * 4, (1, 2, 3, 4) * 2)


def test_thresholds_and_figures_are_those_of_the_validation_patients(made_slices: SliceArrays) -> None:
    chosen = calibrate([HeldOut(BrightestPixel(), Brightness(), ["a", "b"])], made_slices)
    logit = 8 * (round(0.6 * 255) / 255 - 0.5)
    assert chosen.gate_threshold == pytest.approx(float(chosen.scale.probabilities(torch.tensor(logit))), abs=1e-4)
    assert 0.4 < chosen.mask_threshold <= 0.6
    assert chosen.metrics == {
        # The bright pixel passes the gate, and is an island.
        "slice_auc": pytest.approx(3 / 4),
        "mean_volume_dice": pytest.approx(1),
        "median_volume_dice": pytest.approx(1),
        "worst_volume_dice": pytest.approx(1),
        "false_positive_slices": 0.0,
        "gate_sensitivity_large": 1.0,
        "gate_false_positive_rate": pytest.approx(1 / 4),
        "patients": 2.0,
    }


def test_other_patients_choose_nothing(made_slices: SliceArrays) -> None:
    made_slices.images[4:, :, :, 1] = 200
    chosen = calibrate([HeldOut(BrightestPixel(), Brightness(), ["a"])], made_slices)
    assert chosen.metrics["patients"] == 1.0
    assert chosen.metrics["mean_volume_dice"] == pytest.approx(1.0, abs=1e-3)
    assert chosen.metrics["gate_false_positive_rate"] == pytest.approx(1 / 2)


def test_a_gate_that_misses_costs_dice(made_slices: SliceArrays) -> None:
    """99 % of large tumours may be lost at most; of four none may, of many small ones all."""
    made_slices.images[1] = 0
    chosen = calibrate([HeldOut(BrightestPixel(), Brightness(), ["a"])], made_slices)
    assert chosen.metrics["gate_sensitivity_large"] == 1.0
    assert chosen.metrics["gate_false_positive_rate"] == 1.0
    assert chosen.metrics["mean_volume_dice"] == pytest.approx(2 / 3, abs=0.01)


def test_patients_without_slices_are_refused(made_slices: SliceArrays, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no slices of nobody"):
        calibrate([HeldOut(BrightestPixel(), Brightness(), ["nobody"])], made_slices)


class Blind(nn.Module):
    """A classifier that sees nothing, and says so with a low logit."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.full((len(images),), -3.0)


def test_each_pair_of_networks_answers_for_its_own_patients(made_slices: SliceArrays) -> None:
    one = calibrate([HeldOut(BrightestPixel(), Brightness(), ["a", "b"])], made_slices)
    folds = [HeldOut(BrightestPixel(), Brightness(), [patient]) for patient in ("a", "b")]
    assert calibrate(folds, made_slices) == one
    folds[1] = HeldOut(Blind(), Brightness(), ["b"])
    assert calibrate(folds, made_slices).gate_threshold < one.gate_threshold


def test_islands_are_dropped_before_masks_are_judged(made_slices: SliceArrays) -> None:
    made_slices.images[0, 250, 250, 1] = 255
    chosen = calibrate([HeldOut(BrightestPixel(), Brightness(), ["a"])], made_slices)
    assert chosen.metrics["mean_volume_dice"] == pytest.approx(1)
