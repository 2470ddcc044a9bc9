"""What is measured: every headline figure's name, label and definition, in the order they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Unit(str, Enum):
    """What a figure's number is."""

    share = "share"
    area_px = "px"
    distance_px = "px apart"
    distance_mm = "mm"


@dataclass(frozen=True, slots=True)
class Figure:
    """One headline figure.

    Attributes:
        name: key in ``metrics.json``.
        label: as people read it.
        definition: in a sentence.
        unit: of its number.
        interval: whether resampling patients says something of it; not of the worst patient, as no resample can hold
            a patient worse than the worst.
    """

    name: str
    label: str
    definition: str
    unit: Unit = Unit.share
    interval: bool = True


SLICE_FIGURES = (
    Figure("auc", "slice AUC", "area under the ROC curve of the slices' calibrated probabilities"),
    Figure("average_precision", "average precision", "area under their precision-recall curve, by steps"),
    Figure(
        "expected_calibration_error",
        "expected calibration error",
        "mean distance of probability and frequency over ten bins of equal width, weighted by slices",
    ),
    Figure("sensitivity", "slice sensitivity", "slices with tumour in which some pixel is outlined"),
    Figure("specificity", "slice specificity", "slices without tumour in which no pixel is outlined"),
    Figure("gate_sensitivity", "gate sensitivity", "slices with tumour that pass the gate"),
    Figure(
        "gate_sensitivity_large", "gate sensitivity, 50 px or more", "the same for slices with at least 50 px of tumour"
    ),
    Figure("gate_specificity", "gate specificity", "slices without tumour that the gate keeps back"),
    Figure("false_positive_slices", "false-positive slices", "slices without tumour in which some pixel is outlined"),
    Figure(
        "false_positive_area_px",
        "false-positive area per tumour-free slice",
        "outlined pixels per slice without tumour",
        Unit.area_px,
    ),
)
PATIENT_FIGURES = (
    Figure("dice_mean", "volume Dice, mean", "mean over patients of the Dice of all slices of a patient together"),
    Figure("dice_median", "volume Dice, median", "median over patients"),
    Figure("dice_worst", "volume Dice, worst", "the worst patient", interval=False),
    Figure("iou_mean", "volume IoU, mean", "mean over patients of intersection over union"),
    Figure("voxel_sensitivity_mean", "voxel sensitivity, mean", "mean over patients of the labelled voxels outlined"),
    Figure("voxel_precision_mean", "voxel precision, mean", "mean over patients of the outlined voxels labelled"),
    Figure("volume_error_mean", "relative volume error, mean", "mean over patients; above 0: outlined too large"),
    Figure(
        "absolute_volume_error_median",
        "relative volume error, median size",
        "median over patients, without its sign",
    ),
    Figure(
        "hd95_px_median",
        "HD95 in the plane, median",
        "median over patients of the 95th-percentile Hausdorff distance within slices",
        Unit.distance_px,
    ),
    Figure("hd95_mm_median", "HD95 in the plane, median", "the same in millimetres", Unit.distance_mm),
    Figure(
        "hd95_volume_mm_median",
        "HD95 of the volume, median",
        "median over patients of the 95th-percentile Hausdorff distance in three dimensions",
        Unit.distance_mm,
    ),
)
FIGURES = (*SLICE_FIGURES, *PATIENT_FIGURES)


def as_text(value: float | None, unit: Unit) -> str:
    """A figure's number as it is shown; a dash where it is not defined."""
    if value is None:
        return "-"
    if unit is Unit.share:
        return f"{value:.3f}"
    return f"{value:.1f} {'mm' if unit is Unit.distance_mm else 'px'}"


def interval_as_text(interval: list[float] | tuple[float, float] | None, unit: Unit) -> str:
    """An interval as it is shown; empty where there is none."""
    if interval is None:
        return ""
    low, high = (as_text(value, unit).split()[0] for value in interval)
    return f"{low} to {high}"
