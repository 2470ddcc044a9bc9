"""Slices to calibrate and to compare on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tumor_export.phantoms import phantom_study
from tumorctl.contract import SIDE
from tumorctl.errors import InvalidInput
from tumorctl.manifest import MANIFEST_FILE, read_manifest

COMPARED_SLICES = 100
CALIBRATION_SLICES = 96


def spread(indices: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """At most `count` of the indices, evenly spread."""
    return indices[np.unique(np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(np.int64))]


def read_some(data: Path, patients: Sequence[str], count: int) -> npt.NDArray[np.uint8]:
    """Slices of some patients, evenly spread over all of theirs.

    Args:
        data: folder in the Kaggle layout.
        patients: whose slices may be read; those that the folder does not hold are passed over.
        count: largest number of slices.

    Returns:
        uint8, shape (slice, 256, 256, 3).

    Raises:
        InvalidInput: the folder holds none of the patients, or a slice cannot be read or is not 256x256.
    """
    from tumor_training.dataset import list_slices
    from tumorctl.io.slices import read_slice

    wanted = set(patients)
    found = [item for item in list_slices(data)[0] if item.study in wanted]
    if not found:
        raise InvalidInput(f"{data} holds none of the split's development patients")
    images = [read_slice(found[index].path) for index in spread(np.arange(len(found)), count)]
    if any(image.shape[:2] != (SIDE, SIDE) for image in images):
        raise InvalidInput(f"{data} holds slices that are not {SIDE}x{SIDE}")
    return np.stack(images)


def slices_for(
    repository: Path, data: Path | None, split_file: Path | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None]:
    """Slices to compare a repository's networks on, and slices to calibrate them on.

    Args:
        repository: whose manifest names the split and the fold that validated, or the folds that calibrated.
        data: folder in the Kaggle layout; None for made-up brains, and none to calibrate on.
        split_file: by default the committed split.

    Returns:
        Slices of the validation patients and of the training patients, uint8, shape (slice, 256, 256, 3). Test patients
        are not read.

    Raises:
        InvalidInput: the networks were made with another split, or the data holds none of its patients.
        ModelError: this is not a model repository.
    """
    if data is None:
        return phantom_slices(), None
    from tumor_training.splits import read_split

    read_manifest(repository)
    made_with = json.loads((repository / MANIFEST_FILE).read_text("utf-8"))["split"]
    split = read_split(split_file)
    if made_with["sha256"] != split.digest:
        raise InvalidInput("the networks were made with another split: name it with --split")
    # Networks that learned from everyone have no fold of their own. Comparing two arithmetics does not need one.
    fold = made_with["calibrated_on"][0] if made_with["fold"] is None else made_with["fold"]
    return (
        read_some(data, split.validation(fold), COMPARED_SLICES),
        read_some(data, split.train(fold), CALIBRATION_SLICES),
    )


def phantom_slices(studies: int = 6) -> npt.NDArray[np.uint8]:
    """Slices of made-up heads, every other one with a tumour: uint8, shape (slice, 256, 256, 3)."""
    return np.concatenate([phantom_study(seed, tumor=seed % 2 == 0) for seed in range(studies)])
