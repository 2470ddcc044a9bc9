"""Predictions of made-up heads, without networks: what the tests of outputs start from."""

from __future__ import annotations

from typing import Any

import numpy as np

from clinical_phantoms import Phantom, Sequence
from tumorctl.core.geometry import Volume
from tumorctl.study import SeriesChoice, SeriesRole, StudyPrediction
from tumorctl.types import EngineInfo

ENGINE = EngineInfo(
    engine="local",
    target="fp32",
    model_versions={"tumor_classifier": "1", "tumor_segmenter": "1"},
    model_digests={"tumor_classifier": "ab" * 32, "tumor_segmenter": "cd" * 32},
    gate_threshold=0.05,
    mask_threshold=0.5,
)


def predicted(phantom: Phantom, *, dicom: bool = True, **changes: Any) -> StudyPrediction:
    """A prediction that outlines exactly the phantom's lesion, with anything changed that is named."""
    mask = phantom.mask
    fields: dict[str, Any] = {
        "study": "head",
        "mask": mask,
        "grid": phantom.grid,
        "flair": Volume(phantom.voxels(Sequence.flair), phantom.grid),
        "tumor_probability": 0.93,
        "slice_probabilities": tuple(np.where(mask.any(axis=(1, 2)), 0.93, 0.01).tolist()),
        "slice_segmented": tuple(mask.any(axis=(1, 2)).tolist()),
        "series": tuple(
            SeriesChoice(role, f"series {place} of 3", "named so") for place, role in enumerate(SeriesRole)
        ),
        "warnings": ("the T1 before contrast is missing; the FLAIR stands in for it",),
        "registration": (),
        "engine": ENGINE,
        "gate_threshold": 0.05,
        "flair_instances": tuple(phantom.instances(Sequence.flair)) if dicom else (),
    }
    return StudyPrediction(**{**fields, **changes})
