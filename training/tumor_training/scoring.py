"""Figures from masks and probabilities: what the networks are judged by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics.functional.classification import binary_auroc

from tumor_training.metrics import PatientDice


def patient_dice(
    predicted: npt.NDArray[np.bool_], labelled: npt.NDArray[np.bool_], patients: Sequence[str]
) -> dict[str, float]:
    """Volume Dice by patient: all slices of a patient together.

    Args:
        predicted: bool, shape (slice, row, column).
        labelled: same.
        patients: one per slice.
    """
    metric = PatientDice(patients)
    metric.update(torch.from_numpy(predicted), torch.from_numpy(labelled), patients)
    return metric.per_patient()


def slice_auc(probabilities: npt.NDArray[np.float32], positive: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve over slices."""
    return float(binary_auroc(torch.from_numpy(probabilities), torch.from_numpy(positive).int()))
