"""Made-up cohorts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from tumor_training.evaluation.cohort import Cohort

Slice = tuple[float, bool, int, int, int]
"""Probability, passed the gate, labelled, predicted and common pixels."""


@pytest.fixture(scope="session")
def make_cohort() -> Callable[..., Cohort]:
    """Makes a cohort from each patient's slices and, where a test needs them, distances."""

    def make(slices: dict[str, Sequence[Slice]], hd95_px: Sequence[float] | None = None) -> Cohort:
        every = [one for each in slices.values() for one in each]
        column = list(zip(*every, strict=True)) if every else [()] * 5
        return Cohort(
            patients=tuple(slices),
            owner=np.repeat(np.arange(len(slices)), [len(each) for each in slices.values()]),
            probability=np.array(column[0], np.float32),
            passed=np.array(column[1], np.bool_),
            failed=np.zeros(len(every), np.bool_),
            label_px=np.array(column[2], np.int64),
            predicted_px=np.array(column[3], np.int64),
            overlap_px=np.array(column[4], np.int64),
            distances={"hd95_px": np.array(hd95_px or [np.nan] * len(slices), np.float64)},
            distance_slices=np.zeros(len(slices), np.int64),
        )

    return make


@pytest.fixture(scope="session")
def random_cohort(make_cohort: Callable[..., Cohort]) -> Cohort:
    """Twelve patients of three sites with ten slices each, predicted fairly well."""
    random = np.random.default_rng(3)
    patients: dict[str, list[Slice]] = {}
    for number in range(12):
        slices = []
        for _ in range(10):
            labelled = int(random.integers(20, 6000)) if random.random() < 0.4 else 0
            probability = float(np.clip(random.normal(0.8 if labelled else 0.2, 0.2), 0, 1))
            both = int(labelled * random.uniform(0.5, 1)) if probability > 0.4 else 0
            extra = int(random.integers(0, 200)) if probability > 0.5 else 0
            slices.append((probability, probability > 0.4, labelled, both + extra, both))
        patients[f"TCGA_{('CS', 'DU', 'HT')[number % 3]}_{number:04d}_1"] = slices
    return make_cohort(patients, list(random.uniform(1, 20, 12)))
