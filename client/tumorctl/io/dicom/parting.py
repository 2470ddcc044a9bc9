"""Which slices of a series belong together: its stacks, and whether one of them is only a fragment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from tumorctl.core.geometry import SAME_DIRECTION
from tumorctl.io.dicom.slices import Slice, number
from tumorctl.io.dicom.stacks import MIN_SLICES, SAME_PLACE_MM, Stack, offsets_mm

_SAME_ECHO: Final = 0.01
_SAME_SPACING: Final = 0.001
"""Shares by which times and spacings of one stack may differ: they are rounded, some slice by slice."""
_NEARLY_PARALLEL: Final = 0.94
"""Cosine of the angle, 20 degrees, up to which stacks may have been one volume."""
_REACH: Final = 0.25
"""Share of the distance between slices."""
_MUCH: Final = 0.25
"""Share of a stack's slices."""
_MOST_PLACES: Final = 32

Trait = TypeVar("Trait")


class _Kind(NamedTuple):
    """What slices of one stack have in common; the names are those that messages use."""

    multi_frame_object: str | None
    orientation: int | None
    size: tuple[int, int]
    pixel_spacing: int | None
    echo_time: int | None
    frame_of_reference: str
    component: str


def stacks_of(slices: Iterable[Slice]) -> list[Stack]:
    """Part the slices of a series into stacks, each ordered by position.

    Slices part where they differ in orientation, size, echo, frame of reference or component (magnitude, phase). Where
    slices lie in the same places, they part by what else tells them apart: point in time, inversion, acquisition.

    Returns:
        Stacks in the order of their first slices. Where some are stacks and some are a slice or two, the latter are
        counted as strays of the former. Stacks that lie beside each other instead of in the same places are torn.
    """
    kind = _Kinds().kind
    parts = list(_parted(list(slices), kind).values())
    for what in _TELLING_APART:
        parts = [smaller for part in parts for smaller in _apart(part, what)]
    ordered = [tuple(_ordered(part)) for part in parts]
    whole = [part for part in ordered if len(part) >= MIN_SLICES]
    if not whole:
        count = sum(len(part) for part in ordered)
        return [Stack(part, count - len(part)) for part in ordered]
    strays = sum(len(part) for part in ordered if len(part) < MIN_SLICES)
    stacks = [Stack(part, strays) for part in whole]
    torn_by = _torn_by([_Footprint.of(stack) for stack in stacks], [kind(part[0]) for part in whole])
    return [replace(stack, torn_by=why) for stack, why in zip(stacks, torn_by, strict=True)]


@dataclass
class _Known(Generic[Trait]):
    """Numbers what is seen, so that what is nearly the same gets the same number."""

    same: Callable[[Trait, Trait], bool]
    _seen: list[Trait] = field(default_factory=list, init=False)

    def place(self, found: Trait | None) -> int | None:
        if found is None:
            return None
        for place, seen in enumerate(self._seen):
            if self.same(seen, found):
                return place
        self._seen.append(found)
        return len(self._seen) - 1


class _Kinds:
    def __init__(self) -> None:
        self._directions = _Known[npt.NDArray[np.float64]](
            lambda one, other: bool(np.abs(one - other).max() <= SAME_DIRECTION)
        )
        self._spacings = _Known[npt.NDArray[np.float64]](
            lambda one, other: bool((np.abs(one - other) <= _SAME_SPACING * np.abs(one)).all())
        )
        self._echoes = _Known[float](lambda one, other: abs(one - other) <= _SAME_ECHO * abs(one))

    def kind(self, each: Slice) -> _Kind:
        return _Kind(
            multi_frame_object=str(each.find("SOPInstanceUID")) if each.frame is not None else None,
            orientation=self._directions.place(each.orientation),
            size=(each.rows, each.columns),
            pixel_spacing=self._spacings.place(each.spacing_mm),
            echo_time=self._echoes.place(_echo_ms(each)),
            frame_of_reference=str(each.find("FrameOfReferenceUID")),
            component=_component(each),
        )


def _echo_ms(each: Slice) -> float | None:
    return number(each.find("EffectiveEchoTime", "MREchoSequence") or each.find("EchoTime"))


def _component(each: Slice) -> str:
    component = each.find("ComplexImageComponent", "MRImageFrameTypeSequence")
    if component:
        return str(component)
    image_type = each.find("ImageType") or ()
    kinds = [str(code).upper() for code in ([image_type] if isinstance(image_type, str) else image_type)]
    return next((code for code in kinds[2:] if code in ("M", "P", "R", "I")), "")


_TELLING_APART: Final[tuple[Callable[[Slice], Any], ...]] = (
    lambda each: each.find("TemporalPositionIndex", "FrameContentSequence") or each.find("TemporalPositionIdentifier"),
    lambda each: each.find("InversionTimes", "MRModifierSequence") or each.find("InversionTime"),
    lambda each: each.find("DiffusionBValue", "MRDiffusionSequence"),
    lambda each: each.find("FrameType", "MRImageFrameTypeSequence") or each.find("ImageType"),
    lambda each: each.find("AcquisitionNumber"),
    _echo_ms,
)


def _apart(part: list[Slice], what: Callable[[Slice], Any]) -> list[list[Slice]]:
    if not _doubled(part):
        return [part]
    # Some values are lists, which no dictionary takes.
    smaller = list(_parted(part, lambda each: str(what(each))).values())
    return smaller if not any(_doubled(each) for each in smaller) else [part]


def _parted(slices: Sequence[Slice], what: Callable[[Slice], Trait]) -> dict[Trait, list[Slice]]:
    parts: dict[Trait, list[Slice]] = {}
    for each in slices:
        parts.setdefault(what(each), []).append(each)
    return parts


def _ordered(slices: Sequence[Slice]) -> list[Slice]:
    offsets = offsets_mm(slices)
    return list(slices) if offsets is None else [slices[place] for place in np.argsort(offsets, kind="stable")]


def _doubled(slices: Sequence[Slice]) -> bool:
    offsets = offsets_mm(slices)
    return offsets is not None and bool((np.diff(np.sort(offsets)) <= SAME_PLACE_MM).any())


@dataclass(frozen=True, eq=False)
class _Footprint:
    """Where a stack lies.

    Attributes:
        normal: direction in which the slices are stacked, LPS, shape (3,).
        centers_lps: middles of the slices, LPS mm, shape (slice, 3).
        reach_mm: how near to a slice another one shows the same anatomy.
    """

    normal: npt.NDArray[np.float64]
    centers_lps: npt.NDArray[np.float64]
    reach_mm: float

    @classmethod
    def of(cls, stack: Stack) -> _Footprint | None:
        """None where a slice does not tell where it lies."""
        centers = []
        for each in stack.slices:
            if each.position_lps is None or each.orientation is None or each.spacing_mm is None:
                return None
            across, down = each.orientation * each.spacing_mm[::-1, np.newaxis]
            centers.append(each.position_lps + across * (each.columns - 1) / 2 + down * (each.rows - 1) / 2)
        assert stack.normal is not None
        return cls(stack.normal, np.array(centers), _REACH * (stack.spacing_mm or 0.0))

    def is_beside(self, other: _Footprint) -> bool | None:
        """Whether each shows much that the other does not, as fragments of a volume do; None where they cross.

        Echoes, points in time and components of one anatomy lie in the same places; the planes of a localiser cross.
        """
        if abs(self.normal @ other.normal) < _NEARLY_PARALLEL:
            return None
        places = self.centers_lps @ self.normal, other.centers_lps @ self.normal
        reach_mm = max(self.reach_mm, other.reach_mm)
        alone = (_nearest_mm(one, others) > reach_mm for one, others in (places, places[::-1]))
        return min(float(each.mean()) for each in alone) > _MUCH


def _nearest_mm(places: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How far each place is from the nearest of the others, along one line."""
    ordered = np.concatenate(([-np.inf], np.sort(others), [np.inf]))
    after = np.searchsorted(ordered, places)
    return np.asarray(np.minimum(places - ordered[after - 1], ordered[after] - places))


def _torn_by(footprints: Sequence[_Footprint | None], kinds: Sequence[_Kind]) -> list[str]:
    """For each stack what tells it from one that it lies beside; empty where it lies beside none."""
    torn: dict[int, str] = {}
    homes: list[int] = []
    # There may be a thousand stacks, but points in time lie in few places: the first in each stands for all.
    firsts: list[tuple[int, _Footprint]] = []
    for place, footprint in enumerate(footprints):
        beside = [(first, None if footprint is None else footprint.is_beside(its)) for first, its in firsts]
        homes.append(next((first for first, is_beside in beside if is_beside is False), place))
        for first in (first for first, is_beside in beside if is_beside):
            why = _difference(kinds[first], kinds[place])
            torn.setdefault(homes[place], why)
            torn.setdefault(first, why)
        if footprint is not None and homes[place] == place and len(firsts) < _MOST_PLACES:
            firsts.append((place, footprint))
    return [torn.get(home, "") for home in homes]


def _difference(one: _Kind, other: _Kind) -> str:
    """What tells two kinds apart, in words."""
    names = [
        name.replace("_", " ").replace("multi frame", "multi-frame")
        for name, its, others in zip(_Kind._fields, one, other, strict=True)
        if its != others
    ]
    return " and ".join(names) or "point in time or acquisition"
