"""Judge the shipped path: `tumorctl predict` over labelled patients, scored against the labels."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tumor_training.calibrate import LARGE_TUMOR_PX
from tumor_training.metrics import PatientDice
from tumor_training.scoring import slice_auc
from tumorctl.batch import BatchOptions, predict_folders
from tumorctl.client import TumorClient
from tumorctl.errors import InvalidInput
from tumorctl.io.discovery import mask_path
from tumorctl.io.slices import read_mask
from tumorctl.outputs.results import PREDICTIONS_FILE


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of the shipped path on labelled patients; slices that failed count as missed.

    Attributes:
        slices: slices scored.
        positive: slices with tumour.
        auc: area under the ROC curve over slices.
        gate_sensitivity: part of the slices with tumour that passed the gate.
        gate_sensitivity_large: the same for tumours of at least 50 pixels.
        gate_specificity: part of the slices without tumour that the gate kept back.
        false_positive_slices: part of the slices without tumour with any pixel of mask.
        dice: volume Dice by patient, gate misses included.
    """

    slices: int
    positive: int
    auc: float
    gate_sensitivity: float
    gate_sensitivity_large: float
    gate_specificity: float
    false_positive_slices: float
    dice: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the summary of the patients' Dice."""
        values = list(self.dice.values())
        return {
            "patients": len(values),
            "slices": self.slices,
            "positive_slices": self.positive,
            "auc": self.auc,
            "gate_sensitivity": self.gate_sensitivity,
            "gate_sensitivity_large": self.gate_sensitivity_large,
            "gate_specificity": self.gate_specificity,
            "false_positive_slices": self.false_positive_slices,
            "dice_mean": float(np.mean(values)),
            "dice_median": float(np.median(values)),
            "dice_worst": float(np.min(values)),
            "dice": self.dice,
        }


def evaluate(client: TumorClient, data: Path, patients: Sequence[str], output: Path) -> Evaluation:
    """Predict patients as `tumorctl predict` does and score what it wrote.

    Args:
        client: what predicts.
        data: folder in the Kaggle layout.
        patients: folders in it.
        output: folder for the predictions.

    Raises:
        InvalidInput: a patient or a label is missing.
        EngineError: inference failed.
    """
    folders = [data / patient for patient in patients]
    if missing := [folder.name for folder in folders if not folder.is_dir()]:
        raise InvalidInput(f"no folder of {', '.join(missing)} in {data}")
    predict_folders(client, folders, BatchOptions(output=output, overlays=False))
    return score(output, {folder.name: folder for folder in folders})


def score(results: Path, folders: dict[str, Path]) -> Evaluation:
    """Score a results folder against the labels beside the slices.

    Args:
        results: what `predict_folders` wrote.
        folders: each study's folder of slices and labels.

    Raises:
        InvalidInput: a label is missing or of another size.
    """
    probabilities, passed, marked, areas = [], [], [], []
    dice = PatientDice(folders)
    with (results / PREDICTIONS_FILE).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            label = read_mask(mask_path(folders[row["study"]] / row["path"]))
            mask = read_mask(results / row["mask"]) if row["mask"] else np.zeros_like(label)
            if mask.shape != label.shape:
                raise InvalidInput(f"{row['path']}: label and slice differ in size")
            probabilities.append(float(row["tumor_probability"] or 0))
            passed.append(row["segmented"] == "true")
            marked.append(bool(mask.any()))
            areas.append(int(label.sum()))
            # One by one: slices of different patients may differ in size.
            dice.update(torch.from_numpy(mask)[None], torch.from_numpy(label)[None], [row["study"]])
    gate, area = np.array(passed), np.array(areas)
    positive = area > 0
    return Evaluation(
        slices=len(area),
        positive=int(positive.sum()),
        auc=slice_auc(np.array(probabilities, np.float32), positive),
        gate_sensitivity=float(gate[positive].mean()),
        gate_sensitivity_large=float(gate[area >= LARGE_TUMOR_PX].mean()),
        gate_specificity=float(1 - gate[~positive].mean()),
        false_positive_slices=float(np.array(marked)[~positive].mean()),
        dice=dice.per_patient(),
    )
