"""Figures of a cohort: one flat table of headline figures, and what they are made from by patient and by slice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics.functional.classification import binary_auroc, binary_average_precision, binary_calibration_error

from tumor_training import overlap
from tumor_training.calibrate import LARGE_TUMOR_PX
from tumor_training.evaluation.cohort import Cohort
from tumor_training.splits import site_of

Figures = dict[str, float | None]
Values = npt.NDArray[np.float64]

CALIBRATION_BINS = 10
SIZE_LIMITS_PX = (10_000, 25_000)
"""Labelled pixels of a patient, all slices together, from which it is of medium and of large size: the tertiles of the
LGG set's development patients, rounded. Fixed, so that evaluations compare."""
SIZES = ("small", "medium", "large")
SLICE_AREAS_PX = (1, LARGE_TUMOR_PX, 250, 1_000, 2_500)
"""Labelled pixels of a slice at which each class of slices begins."""


def headline(cohort: Cohort) -> Figures:
    """All headline figures, by the names of `definitions`; None where one is not defined."""
    return slice_figures(cohort) | patient_figures(cohort)


def slice_figures(cohort: Cohort) -> Figures:
    """Figures over slices, gate included."""
    positive, large = cohort.positive, cohort.label_px >= LARGE_TUMOR_PX
    found = _share(cohort.marked, ~positive)
    return {
        "auc": _area_under(binary_auroc, cohort),
        "average_precision": _area_under(binary_average_precision, cohort),
        "expected_calibration_error": calibration_error(cohort),
        "sensitivity": _share(cohort.marked, positive),
        "specificity": None if found is None else 1 - found,
        "gate_sensitivity": _share(cohort.passed, positive),
        "gate_sensitivity_large": _share(cohort.passed, large),
        "gate_specificity": _share(~cohort.passed, ~positive),
        "false_positive_slices": found,
        "false_positive_area_px": _share(cohort.predicted_px, ~positive),
    }


def patient_figures(cohort: Cohort) -> Figures:
    """Figures over patients; a patient in whom a measure is not defined is left out of that measure."""
    by_patient = patient_values(cohort)
    error = by_patient["volume_error"]
    figures = {
        "dice_mean": _over(np.mean, by_patient["dice"]),
        "dice_median": _over(np.median, by_patient["dice"]),
        "dice_worst": _over(np.min, by_patient["dice"]),
        "iou_mean": _over(np.mean, by_patient["iou"]),
        "voxel_sensitivity_mean": _over(np.mean, by_patient["sensitivity"]),
        "voxel_precision_mean": _over(np.mean, by_patient["precision"]),
        "volume_error_mean": _over(np.mean, error),
        "absolute_volume_error_median": _over(np.median, np.abs(error)),
    }
    return figures | {f"{name}_median": _over(np.median, values) for name, values in cohort.distances.items()}


def patient_values(cohort: Cohort) -> dict[str, Values]:
    """Measures by patient, gate misses included; each float64 of shape (patient,), NaN where not defined."""
    labelled, predicted = cohort.per_patient(cohort.label_px), cohort.per_patient(cohort.predicted_px)
    both = cohort.per_patient(cohort.overlap_px)
    return {
        "dice": overlap.dice(both, predicted, labelled),
        "iou": overlap.iou(both, predicted, labelled),
        "sensitivity": overlap.sensitivity(both, labelled),
        "precision": overlap.precision(both, predicted),
        "volume_error": overlap.volume_error(predicted, labelled),
        **cohort.distances,
    }


def patient_table(cohort: Cohort) -> dict[str, dict[str, Any]]:
    """Everything known of each patient, in plain values."""
    values = patient_values(cohort)
    free = ~cohort.positive
    counts = {
        "slices": cohort.per_patient(np.ones_like(cohort.passed)),
        "positive_slices": cohort.per_patient(cohort.positive),
        "failed_slices": cohort.per_patient(cohort.failed),
        "false_positive_slices": cohort.per_patient(cohort.marked & free),
        "false_positive_area_px": cohort.per_patient(np.where(free, cohort.predicted_px, 0)),
        "labelled_px": cohort.per_patient(cohort.label_px),
        "predicted_px": cohort.per_patient(cohort.predicted_px),
        "hd95_slices": cohort.distance_slices,
    }
    sizes = size_classes(cohort)
    return {
        patient: {
            "site": site_of(patient),
            "size": sizes[index],
            **{name: int(count[index]) for name, count in counts.items()},
            **{name: _plain(value[index]) for name, value in values.items()},
        }
        for index, patient in enumerate(cohort.patients)
    }


def size_classes(cohort: Cohort) -> list[str]:
    """Each patient's class of size, by the labelled pixels of all its slices; see `SIZE_LIMITS_PX`."""
    volume = cohort.per_patient(cohort.label_px)
    return [SIZES[index] for index in np.digitize(volume, SIZE_LIMITS_PX)]


def slice_areas(cohort: Cohort) -> list[dict[str, Any]]:
    """Slices with tumour, by the area that is labelled in them."""
    found = []
    for low, high in zip(SLICE_AREAS_PX, (*SLICE_AREAS_PX[1:], None), strict=True):
        inside = (cohort.label_px >= low) & (cohort.label_px < (np.inf if high is None else high))
        found.append(
            {
                "from_px": low,
                "below_px": high,
                "slices": int(inside.sum()),
                "gate_sensitivity": _share(cohort.passed, inside),
                "sensitivity": _share(cohort.marked, inside),
                "dice_mean": _share(slice_dice(cohort), inside),
            }
        )
    return found


def slice_dice(cohort: Cohort) -> Values:
    """Dice of each slice by itself, float64 of shape (slice,)."""
    return overlap.dice(cohort.overlap_px, cohort.predicted_px, cohort.label_px)


def calibration_error(cohort: Cohort) -> float | None:
    """Expected calibration error of the slices' probabilities, `CALIBRATION_BINS` bins (Guo et al. 2017)."""
    if not len(cohort):
        return None
    return float(binary_calibration_error(*_tensors(cohort), n_bins=CALIBRATION_BINS, validate_args=False))


def reliability(cohort: Cohort) -> list[dict[str, Any]]:
    """The bins of the expected calibration error: how often slices of about the same probability show tumour."""
    edges = torch.linspace(0, 1, CALIBRATION_BINS + 1).numpy()
    # A probability on an edge is in the bin above it, and 1 in the last.
    bins = np.minimum(np.digitize(cohort.probability, edges[1:-1]), CALIBRATION_BINS - 1)
    table = []
    for index in range(CALIBRATION_BINS):
        inside = bins == index
        table.append(
            {
                "from": round(float(edges[index]), 6),
                "to": round(float(edges[index + 1]), 6),
                "slices": int(inside.sum()),
                "mean_probability": _share(cohort.probability, inside),
                "share_with_tumor": _share(cohort.positive, inside),
            }
        )
    return table


def _tensors(cohort: Cohort) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(cohort.probability), torch.from_numpy(cohort.positive.astype(np.int64))


def _area_under(curve: Callable[..., torch.Tensor], cohort: Cohort) -> float | None:
    """Area under a curve, which needs slices of both kinds."""
    if cohort.positive.all() or not cohort.positive.any():
        return None
    return float(curve(*_tensors(cohort), validate_args=False))


def _share(values: npt.NDArray[Any], inside: npt.NDArray[np.bool_]) -> float | None:
    """Mean of some slices' values; None without slices."""
    return float(values[inside].mean(dtype=np.float64)) if inside.any() else None


def _over(summary: Callable[[Values], Any], values: Values) -> float | None:
    known = values[~np.isnan(values)]
    return float(summary(known)) if len(known) else None


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
