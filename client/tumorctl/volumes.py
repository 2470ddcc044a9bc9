"""Predicted slices put together into volumes, which show what no slice shows: islands far from the lesion.

Slices make a volume where their files differ in the trailing number alone, it rises by one, and they have one size: a
folder may hold slices of more than one scan, and one scan must not decide about another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tumorctl.core.components import main_components
from tumorctl.errors import TumorctlError
from tumorctl.io.discovery import SliceFile
from tumorctl.types import SlicePrediction

Key = TypeVar("Key")
Outcome = SlicePrediction | TumorctlError

_LARGEST = 1 << 26
"""Pixels of a volume at most; a longer one is cut, which bounds memory."""


def without_islands(
    slices: Iterable[tuple[Key, SliceFile | None, Outcome]], share: float
) -> Iterator[tuple[Key, Outcome]]:
    """Drop the islands from the masks of each volume.

    Args:
        slices: keys with the file of a slice, None where there is none, and what came of it, study by study in order.
        share: see `main_components`; 0 hands all on at once.

    Yields:
        Each key with its outcome, in order, a volume at a time.

    Raises:
        Whatever `slices` raises, after the slices before it.
    """
    if share <= 0:
        for key, _, outcome in slices:
            yield key, outcome
        return
    volume: list[tuple[Key, Outcome]] = []
    pixels = 0
    last: SliceFile | None = None
    size: tuple[int, ...] | None = None
    try:
        for key, file, outcome in slices:
            mask = _mask_of(outcome)
            fits = mask is None or size is None or mask.shape == size
            if not (_follows(file, last) and fits and pixels < _LARGEST):
                yield from _mended(volume, share)
                volume, pixels, size = [], 0, None
            volume.append((key, outcome))
            last = file
            if mask is not None:
                size = mask.shape
                pixels += mask.size
    except TumorctlError:
        yield from _mended(volume, share)
        raise
    yield from _mended(volume, share)


def _follows(file: SliceFile | None, last: SliceFile | None) -> bool:
    return (
        file is not None
        and last is not None
        and (file.study, _series_name(file)) == (last.study, _series_name(last))
        and file.number == last.number + 1
    )


def _series_name(file: SliceFile) -> str:
    return re.sub(r"\d+$", "", file.path.stem)


def _mask_of(outcome: Outcome) -> npt.NDArray[np.bool_] | None:
    return outcome.mask if isinstance(outcome, SlicePrediction) else None


def _mended(volume: list[tuple[Key, Outcome]], share: float) -> Iterator[tuple[Key, Outcome]]:
    planes: list[npt.NDArray[np.bool_]] = []
    place: dict[int, int] = {}
    for index, (_, outcome) in enumerate(volume):
        mask = _mask_of(outcome)
        if mask is None:
            continue
        if planes and index - 1 not in place:
            # One empty plane parts as well as many.
            planes.append(np.zeros_like(mask))
        place[index] = len(planes)
        planes.append(mask)
    kept = main_components(np.stack(planes), share) if planes else None
    for index, (key, outcome) in enumerate(volume):
        if kept is not None and isinstance(outcome, SlicePrediction) and index in place:
            outcome = replace(outcome, mask=kept[place[index]])
        yield key, outcome
