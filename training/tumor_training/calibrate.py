"""Choosing temperature and thresholds on validation patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from tumor_training.dataset import SliceArrays
from tumor_training.inference import logits_of, probabilities_of
from tumor_training.scoring import patient_dice
from tumorctl.core.components import main_components
from tumorctl.errors import InvalidInput

SENSITIVITY = 0.99
"""Part of the slices with a tumour of at least `LARGE_TUMOR_PX` that the gate must let through."""
LARGE_TUMOR_PX = 50
_MASK_THRESHOLDS = np.round(np.arange(0.1, 0.91, 0.05), 2)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What validation patients chose.

    Attributes:
        temperature: divides the classifier's logits.
        gate_threshold: calibrated probability from which a slice is segmented.
        mask_threshold: probability from which a pixel is tumour.
        metrics: figures on the validation patients with these values.
    """

    temperature: float
    gate_threshold: float
    mask_threshold: float
    metrics: dict[str, float]


def fit_temperature(logits: npt.NDArray[np.float32], positive: npt.NDArray[np.bool_]) -> float:
    """The temperature of least cross-entropy (Guo et al. 2017).

    Args:
        logits: shape (slice,).
        positive: shape (slice,), both kinds present.
    """
    x, y = torch.from_numpy(logits).double(), torch.from_numpy(positive).double()
    log_temperature = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(x / log_temperature.exp(), y)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return float(log_temperature.detach().exp())


def choose_gate(
    probabilities: npt.NDArray[np.float32], area_px: npt.NDArray[np.int64], sensitivity: float = SENSITIVITY
) -> float:
    """The highest gate threshold that lets enough slices with a larger tumour through, rounded down to 4 digits.

    Args:
        probabilities: of the classifier, shape (slice,).
        area_px: labelled tumour of each slice, shape (slice,).
        sensitivity: part of the slices with at least `LARGE_TUMOR_PX` that must pass.

    Raises:
        InvalidInput: no slice has a tumour that large.
    """
    ordered = np.sort(probabilities[area_px >= LARGE_TUMOR_PX])
    if not len(ordered):
        raise InvalidInput("no validation slice has a tumour large enough to choose the gate by")
    lost = int(np.floor((1 - sensitivity) * len(ordered) + 1e-9))
    return float(np.floor(float(ordered[lost]) * 1e4) / 1e4)


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
    """Choose temperature, gate threshold and mask threshold, in this order, as `tumorctl predict` will apply them.

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
    temperature = fit_temperature(logits.numpy(), area > 0)
    probabilities = torch.sigmoid(logits / temperature).numpy()
    gate = choose_gate(probabilities, area)
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
    scores = {}
    for threshold in _MASK_THRESHOLDS:
        predicted = np.zeros_like(masks)
        predicted[passed] = segmented >= np.float32(threshold)
        for patient in set(of_patient):
            of_this = np.asarray(of_patient) == patient
            predicted[of_this] = main_components(predicted[of_this])
        scores[float(threshold)] = float(np.mean(list(patient_dice(predicted, masks, of_patient).values())))
    best = max(scores, key=lambda threshold: scores[threshold])
    large = area >= LARGE_TUMOR_PX
    return Calibration(
        temperature=temperature,
        gate_threshold=gate,
        mask_threshold=best,
        metrics={
            "mean_volume_dice": scores[best],
            "gate_sensitivity_large": float(passed[large].mean()),
            "gate_false_positive_rate": float(passed[area == 0].mean()),
            "patients": float(len(set(of_patient))),
        },
    )
