from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tumor_training.metrics import PatientDice

PATIENTS = ("a", "b", "c")
Masks = npt.NDArray[np.bool_]


@st.composite
def labelled_slices(draw: st.DrawFn) -> tuple[Masks, Masks, list[str]]:
    count = draw(st.integers(1, 8))
    masks = arrays.arrays(np.bool_, (count, 3, 2))
    patients = draw(st.lists(st.sampled_from(PATIENTS), min_size=count, max_size=count))
    return draw(masks), draw(masks), patients


def volume_dice(predicted: Masks, labelled: Masks, patients: list[str]) -> dict[str, float]:
    """The definition, patient by patient."""
    dice = {}
    for patient in set(patients):
        mine = [index for index, name in enumerate(patients) if name == patient]
        a, b = set(zip(*predicted[mine].nonzero(), strict=True)), set(zip(*labelled[mine].nonzero(), strict=True))
        dice[patient] = 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0
    return dice


@given(slices=labelled_slices())
def test_it_is_the_mean_of_the_patients_volume_dice(slices: tuple[Masks, Masks, list[str]]) -> None:
    predicted, labelled, patients = slices
    metric = PatientDice(PATIENTS)
    metric.update(torch.from_numpy(predicted), torch.from_numpy(labelled), patients)
    wanted = volume_dice(predicted, labelled, patients)
    assert metric.per_patient() == pytest.approx(wanted)
    assert float(metric.compute()) == pytest.approx(np.mean(list(wanted.values())))


@given(slices=labelled_slices(), data=st.data())
def test_batches_and_their_order_do_not_matter(slices: tuple[Masks, Masks, list[str]], data: st.DataObject) -> None:
    predicted, labelled, patients = slices
    metric = PatientDice(PATIENTS)
    order = data.draw(st.permutations(range(len(patients))))
    for index in order:
        metric.update(torch.from_numpy(predicted[[index]]), torch.from_numpy(labelled[[index]]), [patients[index]])
    assert metric.per_patient() == pytest.approx(volume_dice(predicted, labelled, patients))


def test_patients_not_seen_do_not_count() -> None:
    metric = PatientDice(["a", "b"])
    metric.update(torch.ones(1, 2, 2), torch.ones(1, 2, 2), ["a"])
    assert metric.per_patient() == {"a": 1.0}
    assert float(metric.compute()) == 1.0


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric PatientDice was called before:UserWarning")
def test_it_is_nan_before_any_slice() -> None:
    assert math.isnan(float(PatientDice(["a"]).compute()))


def test_it_starts_anew_when_reset() -> None:
    metric = PatientDice(["a"])
    metric.update(torch.zeros(1, 2, 2), torch.ones(1, 2, 2), ["a"])
    metric.reset()
    metric.update(torch.ones(1, 2, 2), torch.ones(1, 2, 2), ["a"])
    assert float(metric.compute()) == 1.0


def test_processes_are_joined_by_adding_counts() -> None:
    predicted = torch.tensor([[[True, False]], [[True, True]]])
    labelled = torch.tensor([[[True, True]], [[False, True]]])
    together, first, second = (PatientDice(["a"]) for _ in range(3))
    together.update(predicted, labelled, ["a", "a"])
    first.update(predicted[:1], labelled[:1], ["a"])
    second.update(predicted[1:], labelled[1:], ["a"])
    for name, reduce in first._reductions.items():
        assert callable(reduce)
        setattr(first, name, reduce(torch.stack([getattr(first, name), getattr(second, name)])))
    assert first.per_patient() == together.per_patient() == {"a": pytest.approx(2 * 2 / 6)}
