"""Lightning data modules over decoded slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import lightning
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tumor_training.dataset import SliceArrays


class Batch(TypedDict):
    """What the loops get.

    Attributes:
        images: uint8, shape (batch, 256, 256, 3).
        masks: bool, shape (batch, 256, 256).
        patients: one per slice.
    """

    images: Tensor
    masks: Tensor
    patients: list[str]


class SliceDataset(Dataset[Batch]):
    """Some slices of the decoded data; reads whole batches at once from a list of indices."""

    def __init__(self, slices: SliceArrays, indices: npt.NDArray[np.int64]) -> None:
        self.slices = slices
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        where = self.indices[np.asarray(positions)]
        return Batch(
            images=torch.from_numpy(np.ascontiguousarray(self.slices.images[where])),
            masks=torch.from_numpy(np.ascontiguousarray(self.slices.masks[where])),
            patients=[self.slices.patients[index] for index in where],
        )


class EpochSampler(Sampler[int]):
    """All positive slices and a fresh draw of the negative ones in each epoch, in random order.

    Args:
        positive: bool, one per slice of the data set.
        negative_share: part of the negative slices drawn each epoch, in (0, 1].
        seed: the same seed gives the same epochs.
    """

    def __init__(self, positive: npt.NDArray[np.bool_], negative_share: float, seed: int) -> None:
        self.positive = np.flatnonzero(positive)
        self.negative = np.flatnonzero(~positive)
        self.draw = round(len(self.negative) * negative_share)
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch, so that a resumed run continues where it stopped."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.positive) + self.draw

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng([self.seed, self.epoch])
        drawn = random.choice(self.negative, self.draw, replace=False)
        return iter(random.permutation(np.concatenate([self.positive, drawn])).tolist())


@dataclass(frozen=True, slots=True)
class LoaderOptions:
    """How slices are fed.

    Attributes:
        batch_size: slices in a training step.
        negative_share: part of the slices without tumour that an epoch sees.
        workers: loader processes; 0 reads in the training process, which memory-mapped data makes fast.
    """

    batch_size: int = 16
    negative_share: float = 1.0
    workers: int = 0


class SliceDataModule(lightning.LightningDataModule):
    """Training and validation slices by patient.

    Args:
        slices: decoded data.
        train: patients to learn from.
        validation: patients to choose by; every slice of theirs is seen.
        options: how slices are fed.
        seed: of the order and of the draw of negative slices.
    """

    def __init__(
        self,
        slices: SliceArrays,
        train: Sequence[str],
        validation: Sequence[str],
        options: LoaderOptions,
        seed: int,
    ) -> None:
        super().__init__()
        self.options = options
        self.train_set = SliceDataset(slices, slices.indices_of(train))
        self.validation_set = SliceDataset(slices, slices.indices_of(validation))
        positive = slices.masks[self.train_set.indices].any(axis=(1, 2))
        self.sampler = EpochSampler(positive, options.negative_share, seed)

    def training_sample(self, count: int) -> Tensor:
        """At most `count` images of the training set, spread evenly over it, uint8, shape (count, row, column, 3)."""
        step = max(1, len(self.train_set) // count)
        return self.train_set.__getitems__(range(0, len(self.train_set), step)[:count])["images"]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches with a fresh draw of negatives; the last short batch is left out."""
        return DataLoader(
            self.train_set,
            batch_size=self.options.batch_size,
            sampler=self.sampler,
            collate_fn=_as_is,
            num_workers=self.options.workers,
            drop_last=True,
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """All slices of the validation patients, in order.

        Lightning deals them to the processes of a data-parallel run and evens the shares out by repeating at most one
        slice a process, so that the figures of such a run may differ slightly from those of one process.
        """
        return DataLoader(self.validation_set, batch_size=32, collate_fn=_as_is, num_workers=self.options.workers)


def _as_is(batch: Any) -> Any:
    """The data set hands out whole batches already."""
    return batch
