"""Choosing temperature and thresholds on validation patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tumor_training.dataset import SliceArrays
from tumor_training.inference import logits_of, probabilities_of
from tumor_training.scoring import patient_dice, slice_auc
from tumorctl.core.components import main_components
from tumorctl.errors import InvalidInput

SENSITIVITY = 0.99
"""Part of the slices with a tumour of at least `LARGE_TUMOR_PX` that the gate must let through."""
LARGE_TUMOR_PX = 50
_RESAMPLES = 2000
_DOUBT = 0.05
_MASK_THRESHOLDS = np.round(np.arange(0.1, 0.91, 0.05), 2)


@dataclass(frozen=True, slots=True)
class Scale:
    """From logits to calibrated probabilities: sigmoid(logit / temperature + offset).

    Platt 1999; without the offset, Guo et al. 2017.
    """

    temperature: float = 1.0
    offset: float = 0.0

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities of the logits' shape."""
        return torch.sigmoid(logits / self.temperature + self.offset)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What validation patients chose.

    Attributes:
        scale: of the classifier's logits.
        gate_threshold: calibrated probability from which a slice is segmented.
        mask_threshold: probability from which a pixel is tumour.
        metrics: figures on the validation patients with these values.
    """

    scale: Scale
    gate_threshold: float
    mask_threshold: float
    metrics: dict[str, float]


def fit_scale(logits: npt.NDArray[np.float32], positive: npt.NDArray[np.bool_]) -> Scale:
    """The scale of least cross-entropy.

    Args:
        logits: shape (slice,).
        positive: shape (slice,), both kinds present.
    """
    x, y = torch.from_numpy(logits).double(), torch.from_numpy(positive).double()
    log_temperature = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    offset = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature, offset], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(x / log_temperature.exp() + offset, y)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return Scale(float(log_temperature.detach().exp()), float(offset.detach()))


def choose_gate(
    probabilities: npt.NDArray[np.float32],
    area_px: npt.NDArray[np.int64],
    patients: Sequence[str],
    sensitivity: float = SENSITIVITY,
) -> float:
    """The gate threshold that would let enough slices with a larger tumour through had other patients validated.

    For each of `_RESAMPLES` draws of as many patients with replacement (the bootstrap, Efron 1979) the highest
    threshold that keeps the sensitivity is taken; the `_DOUBT` quantile of these is chosen, rounded down to 4 digits:
    few patients choose a threshold that fits them better than the next ones.

    Args:
        probabilities: of the classifier, shape (slice,).
        area_px: labelled tumour of each slice, shape (slice,).
        patients: one per slice.
        sensitivity: part of the slices with at least `LARGE_TUMOR_PX` that must pass.

    Raises:
        InvalidInput: no slice has a tumour that large.
    """
    large = area_px >= LARGE_TUMOR_PX
    if not large.any():
        raise InvalidInput("no validation slice has a tumour large enough to choose the gate by")
    patient = np.asarray(patients)[large]
    groups = [probabilities[large][patient == name] for name in np.unique(patient)]
    random = np.random.default_rng(0)
    highest = []
    for _ in range(_RESAMPLES):
        ordered = np.sort(np.concatenate([groups[index] for index in random.integers(len(groups), size=len(groups))]))
        lost = int(np.floor((1 - sensitivity) * len(ordered) + 1e-9))
        highest.append(ordered[lost])
    return float(np.floor(float(np.quantile(highest, _DOUBT, method="lower")) * 1e4) / 1e4)


def choose_mask_threshold(dice: Mapping[float, npt.NDArray[np.float64]]) -> float:
    """The mask threshold nearest one half of those that do as well as the best, by the one-standard-error rule.

    A threshold does as well as the best if the mean difference of the patients' Dice to it is no larger than that
    difference's standard error (Breiman et al. 1984): few patients cannot tell such thresholds apart.

    Args:
        dice: of each patient, shape (patient,), by threshold.
    """
    best = max(dice, key=lambda threshold: dice[threshold].mean())

    def as_good(threshold: float) -> bool:
        loss = dice[best] - dice[threshold]
        return bool(loss.mean() <= loss.std(ddof=1) / np.sqrt(len(loss))) if len(loss) > 1 else threshold == best

    return min((threshold for threshold in dice if as_good(threshold)), key=lambda threshold: abs(threshold - 0.5))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Networks, and the patients that they have not learned from.

    Attributes:
        classifier: gives logits, shape (batch,).
        segmenter: gives logits, shape (batch, 1, row, column).
        patients: that validated both.
    """

    classifier: nn.Module
    segmenter: nn.Module
    patients: Sequence[str]


def calibrate(held_out: Sequence[HeldOut], slices: SliceArrays) -> Calibration:
    """Choose scale, gate threshold and mask threshold, in this order, as `tumorctl predict` will apply them.

    Args:
        held_out: one pair of networks with its validation patients, or one of each fold of a cross-validation, whose
            answers are then put together.
        slices: decoded data.

    Raises:
        InvalidInput: a patient has no slices, or none has a tumour.
    """
    indices = [slices.indices_of(part.patients) for part in held_out]
    everyone = np.concatenate(indices)
    masks = slices.masks[everyone]
    of_patient = [slices.patients[index] for index in everyone]
    area = masks.sum(axis=(1, 2))
    logits = torch.cat(
        [
            batch
            for part, where in zip(held_out, indices, strict=True)
            for batch in logits_of(part.classifier, slices.images[where])
        ]
    )
    scale = fit_scale(logits.numpy(), area > 0)
    probabilities = scale.probabilities(logits).numpy()
    gate = choose_gate(probabilities, area, of_patient)
    passed = probabilities >= np.float32(gate)
    segmented = np.concatenate(
        [
            probabilities_of(part.segmenter, slices.images[where[chosen]])
            for part, where, chosen in zip(
                held_out, indices, np.split(passed, np.cumsum([len(where) for where in indices])[:-1]), strict=True
            )
            if chosen.any()
        ]
    )
    dice, false_positives = {}, {}
    for threshold in map(float, _MASK_THRESHOLDS):
        predicted = np.zeros_like(masks)
        predicted[passed] = segmented >= np.float32(threshold)
        for patient in set(of_patient):
            of_this = np.asarray(of_patient) == patient
            predicted[of_this] = main_components(predicted[of_this])
        dice[threshold] = np.array(list(patient_dice(predicted, masks, of_patient).values()))
        false_positives[threshold] = float(predicted[area == 0].any(axis=(1, 2)).mean())
    mask_threshold = choose_mask_threshold(dice)
    large = area >= LARGE_TUMOR_PX
    return Calibration(
        scale=scale,
        gate_threshold=gate,
        mask_threshold=mask_threshold,
        metrics={
            "slice_auc": slice_auc(probabilities, area > 0),
            "mean_volume_dice": float(dice[mask_threshold].mean()),
            "median_volume_dice": float(np.median(dice[mask_threshold])),
            "worst_volume_dice": float(dice[mask_threshold].min()),
            "false_positive_slices": false_positives[mask_threshold],
            "gate_sensitivity_large": float(passed[large].mean()),
            "gate_false_positive_rate": float(passed[area == 0].mean()),
            "patients": float(len(set(of_patient))),
        },
    )
