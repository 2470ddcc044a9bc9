"""Patient-level measures, as torchmetrics where the loop needs them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torchmetrics import Metric

from tumor_training.overlap import dice


class PatientDice(Metric):
    """Mean over patients of the Dice coefficient of all slices of a patient together (volume Dice).

    A patient without tumour in label and prediction counts 1.
    """

    full_state_update = False

    overlap: Tensor
    predicted: Tensor
    labelled: Tensor
    seen: Tensor

    def __init__(self, patients: Iterable[str]) -> None:
        super().__init__()
        self.order = {patient: index for index, patient in enumerate(sorted(set(patients)))}
        for name in ("overlap", "predicted", "labelled", "seen"):
            self.add_state(name, torch.zeros(len(self.order), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, patients: Iterable[str]) -> None:
        """Add slices.

        Args:
            prediction: bool or 0/1, shape (batch, ...).
            target: same shape.
            patients: one per slice.
        """
        where = torch.tensor([self.order[patient] for patient in patients], device=self.overlap.device)
        predicted, labelled = prediction.bool().flatten(1), target.bool().flatten(1)
        counts = {
            "overlap": (predicted & labelled).sum(1),
            "predicted": predicted.sum(1),
            "labelled": labelled.sum(1),
            "seen": torch.ones_like(where),
        }
        for name, count in counts.items():
            getattr(self, name).index_add_(0, where, count.double())

    def per_patient(self) -> dict[str, float]:
        """Volume Dice of each patient seen."""
        counts = (state.cpu().numpy() for state in (self.overlap, self.predicted, self.labelled))
        values = dice(*counts)
        return {patient: float(values[index]) for patient, index in self.order.items() if self.seen[index] > 0}

    def compute(self) -> Tensor:
        """The mean over the patients seen; NaN where none was."""
        values = list(self.per_patient().values())
        return torch.tensor(values, dtype=torch.float64).mean() if values else torch.tensor(float("nan"))
