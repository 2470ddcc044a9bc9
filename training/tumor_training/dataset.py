"""The published Kaggle layout of the LGG data set: reading, checking, caching.

``ROOT/<patient>/<patient>_<n>.tif`` is a slice and ``..._mask.tif`` its label; each folder is one patient.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tumorctl.contract import CHANNELS, SIDE
from tumorctl.errors import InvalidInput
from tumorctl.io.discovery import (
    MASK_STEM_SUFFIX,
    SLICE_SUFFIXES,
    SliceFile,
    UnreadableFolder,
    discover,
    mask_path,
)
from tumorctl.io.slices import read_mask, read_slice

_CACHE_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the data: the file or folder, relative to the root, and what is wrong with it."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class PatientCount:
    """Slices of one patient: all of them, and those whose label is not empty."""

    slices: int
    positive: int


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found.

    Attributes:
        patients: counts by patient, over the slices that could be read.
        problems: unreadable files and folders, missing labels, labels of another size, labels without a slice.
    """

    patients: dict[str, PatientCount]
    problems: tuple[Problem, ...]

    @property
    def slices(self) -> int:
        """Readable slices with a readable label of the same size."""
        return sum(count.slices for count in self.patients.values())

    @property
    def positive(self) -> int:
        """Slices whose label is not empty."""
        return sum(count.positive for count in self.patients.values())


@dataclass(frozen=True, slots=True)
class SliceArrays:
    """Decoded slices with their labels, and which patient each belongs to.

    Attributes:
        images: uint8, shape (slice, 256, 256, 3); may be memory-mapped and read-only.
        masks: bool, shape (slice, 256, 256); may be memory-mapped and read-only.
        patients: one patient per slice.
        numbers: the slice's number in its study.
    """

    images: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.bool_]
    patients: tuple[str, ...]
    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.patients)

    def indices_of(self, patients: Iterable[str]) -> npt.NDArray[np.int64]:
        """Indices of all slices of some patients, in order.

        Raises:
            InvalidInput: a patient has no slices here.
        """
        wanted = set(patients)
        if missing := wanted - set(self.patients):
            raise InvalidInput(f"no slices of {', '.join(sorted(missing))} in the data")
        return np.flatnonzero(np.isin(np.asarray(self.patients), sorted(wanted)))


def list_slices(root: Path) -> tuple[list[SliceFile], list[UnreadableFolder]]:
    """All slices under a data folder, and the folders that could not be listed.

    Raises:
        InvalidInput: the folder is missing or holds no slices.
    """
    found = list(discover([root]))
    slices = [item for item in found if isinstance(item, SliceFile)]
    if not slices:
        raise InvalidInput(f"{root} holds no slices (TIFF, PNG or JPEG)")
    return slices, [item for item in found if isinstance(item, UnreadableFolder)]


def verify(root: Path) -> Verification:
    """Read every slice and label under a data folder and say what is wrong.

    Raises:
        InvalidInput: the folder is missing or holds no slices.
    """
    slices, unreadable = list_slices(root)
    problems = [Problem(folder.name, f"folder cannot be listed ({folder.reason})") for folder in unreadable]
    counts: dict[str, list[int]] = {}
    with ThreadPoolExecutor() as pool:
        for item, outcome in zip(slices, pool.map(_check_pair, slices), strict=True):
            if isinstance(outcome, Problem):
                problems.append(outcome)
            else:
                count = counts.setdefault(item.study, [0, 0])
                count[0] += 1
                count[1] += outcome
    problems += [Problem(name, "label without a slice") for name in _orphan_masks(root, slices)]
    return Verification(
        patients={patient: PatientCount(*count) for patient, count in counts.items()}, problems=tuple(problems)
    )


def load(root: Path, cache: Path | None = None) -> SliceArrays:
    """Decode all slices of a data folder, or map them from the cache of an earlier run.

    Args:
        root: data folder in the Kaggle layout; all slices must be 256x256.
        cache: folder for decoded data (about 260 kB a slice); None decodes into memory. A cache is bound to the names,
            sizes and times of the files, so changed data is decoded anew.

    Raises:
        InvalidInput: a slice or label is missing, unreadable or of another size (`verify` lists them all).
    """
    slices, unreadable = list_slices(root)
    if unreadable:
        raise InvalidInput(f"{unreadable[0].name} cannot be listed ({unreadable[0].reason})")
    if cache is None:
        images, masks = _decode(slices)
    else:
        folder = cache / _fingerprint(slices)
        if not folder.is_dir():
            _write_cache(folder, *_decode(slices))
        images = np.load(folder / "images.npy", mmap_mode="r")
        masks = np.load(folder / "masks.npy", mmap_mode="r")
    return SliceArrays(images, masks, tuple(s.study for s in slices), tuple(s.number for s in slices))


def _check_pair(item: SliceFile) -> Problem | bool:
    """Whether a slice has tumour, or what is wrong with it or its label."""
    label = mask_path(item.path)
    label_name = item.name.removesuffix(item.path.name) + label.name
    try:
        image = read_slice(item.path)
    except InvalidInput as error:
        return Problem(item.name, str(error))
    if not label.exists():
        return Problem(item.name, f"no label {label.name}")
    try:
        mask = read_mask(label)
    except InvalidInput as error:
        return Problem(label_name, str(error))
    if mask.shape != image.shape[:2]:
        return Problem(label_name, f"label is {mask.shape[1]}x{mask.shape[0]}, slice {image.shape[1]}x{image.shape[0]}")
    return bool(mask.any())


def _orphan_masks(root: Path, slices: Sequence[SliceFile]) -> list[str]:
    expected = {mask_path(item.path) for item in slices}
    masks = (path for path in sorted(root.rglob(f"*{MASK_STEM_SUFFIX}.*")) if path.suffix.lower() in SLICE_SUFFIXES)
    names = (path.relative_to(root) for path in masks if path not in expected)
    return [name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts)]


def _decode(slices: Sequence[SliceFile]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    images = np.empty((len(slices), SIDE, SIDE, CHANNELS), np.uint8)
    masks = np.empty((len(slices), SIDE, SIDE), np.bool_)

    def decode(index: int) -> None:
        item = slices[index]
        outcome = _check_pair(item)
        if isinstance(outcome, Problem):
            raise InvalidInput(f"{outcome.name}: {outcome.reason}; `tumorctl data verify` lists all problems")
        image = read_slice(item.path)
        if image.shape != images.shape[1:]:
            raise InvalidInput(f"{item.name} is {image.shape[1]}x{image.shape[0]}, training reads {SIDE}x{SIDE} slices")
        images[index], masks[index] = image, read_mask(mask_path(item.path))

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(decode, range(len(slices))):
            pass
    return images, masks


def _fingerprint(slices: Sequence[SliceFile]) -> str:
    digest = hashlib.sha256(json.dumps(_CACHE_FORMAT).encode())
    for item in slices:
        for path in (item.path, mask_path(item.path)):
            try:
                stat = path.stat()
            except FileNotFoundError:
                raise InvalidInput(f"{item.name}: no label {path.name}") from None
            digest.update(json.dumps([item.name, path.name, stat.st_size, stat.st_mtime_ns]).encode())
    return digest.hexdigest()[:24]


def _write_cache(folder: Path, images: npt.NDArray[np.uint8], masks: npt.NDArray[np.bool_]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".decoding-", dir=folder.parent))
    np.save(aside / "images.npy", images)
    np.save(aside / "masks.npy", masks)
    try:
        aside.rename(folder)
    except OSError:
        # Another run wrote the same cache meanwhile: its content is the same.
        if not folder.is_dir():
            raise
