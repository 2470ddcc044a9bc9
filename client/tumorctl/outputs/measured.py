"""Measurements as cells of a table and as JSON, in the frame of the format that the study came in."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from tumorctl.core.geometry import points_lps_of_ras

if TYPE_CHECKING:
    from tumorctl.core.measurements import Measurements, Point

MEASUREMENT_COLUMNS = (
    "volume_ml",
    "longest_diameter_mm",
    "perpendicular_diameter_mm",
    "centroid_mm",
    "laterality",
)
UNMEASURED = ("",) * len(MEASUREMENT_COLUMNS)

_AXIS_NAMES = ("slice", "row", "column")
_ML_DECIMALS = 4
_MM_DECIMALS = 3


class Frame(str, Enum):
    """In which directions the patient's coordinates grow.

    Attributes:
        lps: to the patient's left, back and head, as DICOM has them.
        ras: to the patient's right, front and head, as NIfTI has them.
    """

    lps = "LPS"
    ras = "RAS"


def measurement_cells(measured: Measurements, frame: Frame) -> tuple[str, ...]:
    """The cells of `MEASUREMENT_COLUMNS`; what an empty mask does not have is empty.

    The centroid's cell names its frame: ``LPS 36.2 -14.0 27.1``.
    """
    diameters, centroid = measured.diameters, measured.centroid_ras_mm
    return (
        f"{measured.volume_ml:.{_ML_DECIMALS}f}",
        "" if diameters is None else f"{diameters.longest_mm:.{_MM_DECIMALS}f}",
        "" if diameters is None else f"{diameters.perpendicular_mm:.{_MM_DECIMALS}f}",
        "" if centroid is None else " ".join([frame.value, *(f"{value:.1f}" for value in _place(centroid, frame))]),
        "" if measured.laterality is None else measured.laterality.value,
    )


def measurements_as_dict(measured: Measurements, frame: Frame) -> dict[str, Any]:
    """JSON-safe; names carry unit and frame; what an empty mask does not have is None."""
    suffix = f"{frame.value.lower()}_mm"
    diameters = measured.diameters
    midline_mm = measured.midline.right_mm
    return {
        "volume_ml": round(measured.volume_ml, _ML_DECIMALS),
        "lesions": measured.lesions,
        "lesion_volumes_ml": [round(volume, _ML_DECIMALS) for volume in measured.lesion_volumes_ml],
        "longest_diameter_mm": None if diameters is None else round(diameters.longest_mm, _MM_DECIMALS),
        "perpendicular_diameter_mm": None if diameters is None else round(diameters.perpendicular_mm, _MM_DECIMALS),
        f"centroid_{suffix}": None if measured.centroid_ras_mm is None else _place(measured.centroid_ras_mm, frame),
        "laterality": None if measured.laterality is None else measured.laterality.value,
        "midline": {
            f"x_{suffix}": round(-midline_mm if frame is Frame.lps else midline_mm, _MM_DECIMALS),
            "estimated_from": measured.midline.source.value,
        },
        "measured_on": None
        if diameters is None
        else {
            "axis": _AXIS_NAMES[diameters.axis],
            "index": diameters.index,
            f"longest_ends_{suffix}": [_place(end, frame) for end in diameters.longest_ends_ras_mm],
            f"perpendicular_ends_{suffix}": [_place(end, frame) for end in diameters.perpendicular_ends_ras_mm],
        },
    }


def _place(point_ras_mm: Point, frame: Frame) -> list[float]:
    point = np.asarray(point_ras_mm)
    return [round(float(value), _MM_DECIMALS) for value in (points_lps_of_ras(point) if frame is Frame.lps else point)]
