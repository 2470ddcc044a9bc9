from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumor_training.batches import EpochSampler, LoaderOptions, SliceDataModule, SliceDataset
from tumor_training.dataset import SliceArrays, load
from tumor_training.splits import Split
from tumorctl.errors import InvalidInput


@given(
    positive=st.lists(st.booleans(), min_size=1, max_size=60).map(np.array),
    share=st.floats(0.01, 1),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 99),
)
def test_an_epoch_has_every_positive_slice_and_its_share_of_the_others_once(
    positive: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], share: float, seed: int, epoch: int
) -> None:
    sampler = EpochSampler(positive, share, seed)
    sampler.set_epoch(epoch)
    drawn = list(sampler)
    assert len(drawn) == len(set(drawn)) == len(sampler)
    assert set(np.flatnonzero(positive)) <= set(drawn)
    assert len(drawn) - positive.sum() == round((~positive).sum() * share)


POSITIVE = np.arange(100) < 30


def epoch_of(sampler: EpochSampler, epoch: int) -> list[int]:
    sampler.set_epoch(epoch)
    return list(sampler)


def test_epochs_differ_in_order_and_in_the_slices_drawn() -> None:
    sampler = EpochSampler(POSITIVE, 0.5, seed=1)
    first, second = epoch_of(sampler, 0), epoch_of(sampler, 1)
    assert first != second
    assert set(first) != set(second)


def test_the_same_seed_and_epoch_give_the_same_slices_whatever_came_before() -> None:
    sampler, other = EpochSampler(POSITIVE, 0.5, seed=1), EpochSampler(POSITIVE, 0.5, seed=1)
    epoch_of(other, 3)
    assert epoch_of(sampler, 7) == epoch_of(other, 7) == list(other)
    assert epoch_of(EpochSampler(POSITIVE, 0.5, seed=2), 7) != epoch_of(sampler, 7)


def test_all_slices_are_seen_over_the_epochs() -> None:
    sampler = EpochSampler(POSITIVE, 0.2, seed=0)
    assert set().union(*(epoch_of(sampler, epoch) for epoch in range(60))) == set(range(100))


@pytest.fixture(scope="module")
def slices(made_patients: Path) -> SliceArrays:
    return load(made_patients)


def batches_of(loader: object) -> list[dict[str, object]]:
    return list(loader)  # type: ignore[call-overload, no-any-return]


def test_a_batch_holds_the_slices_asked_for_in_their_order(slices: SliceArrays) -> None:
    positions: Sequence[int] = [3, 0, 2]
    indices = np.array([20, 5, 9, 2])
    batch = SliceDataset(slices, indices).__getitems__(positions)
    wanted = [2, 20, 9]
    np.testing.assert_array_equal(batch["images"].numpy(), slices.images[wanted])
    np.testing.assert_array_equal(batch["masks"].numpy(), slices.masks[wanted])
    assert batch["patients"] == [slices.patients[index] for index in wanted]


def test_batches_of_mapped_data_are_copies(made_patients: Path, tmp_path: Path) -> None:
    mapped = load(made_patients, tmp_path)
    batch = SliceDataset(mapped, np.arange(4)).__getitems__([1])
    batch["images"].zero_()
    assert mapped.images[1].any()


def module(slices: SliceArrays, split: Split, **options: float) -> SliceDataModule:
    return SliceDataModule(slices, split.train(0), split.validation(0), LoaderOptions(**options), seed=0)  # type: ignore[arg-type]


def test_training_batches_hold_training_patients_only(slices: SliceArrays, made_split: Split) -> None:
    batches = batches_of(module(slices, made_split, batch_size=5).train_dataloader())
    assert [len(batch["images"]) for batch in batches] == [5, 5]  # type: ignore[arg-type]
    seen = {patient for batch in batches for patient in batch["patients"]}  # type: ignore[attr-defined]
    assert seen <= set(made_split.train(0))


def test_validation_batches_hold_every_slice_of_the_validation_patients(slices: SliceArrays, made_split: Split) -> None:
    made = module(slices, made_split, batch_size=5, negative_share=0.1)
    seen = [patient for batch in batches_of(made.val_dataloader()) for patient in batch["patients"]]  # type: ignore[attr-defined]
    assert sorted(seen) == sorted(4 * made_split.validation(0))


def test_negatives_are_drawn_among_the_training_slices(slices: SliceArrays, made_split: Split) -> None:
    made = module(slices, made_split, batch_size=1, negative_share=1 / 3)
    batches = batches_of(made.train_dataloader())
    positive = [bool(batch["masks"].any()) for batch in batches]  # type: ignore[attr-defined]
    assert (sum(positive), len(positive)) == (6, 8)


def test_a_patient_without_slices_is_refused(slices: SliceArrays) -> None:
    with pytest.raises(InvalidInput, match="no slices of nobody"):
        SliceDataModule(slices, ["nobody"], [], LoaderOptions(), seed=0)
