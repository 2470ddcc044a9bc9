from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tumorctl.volumes
from tumorctl.errors import ServerError, TumorctlError, UnreadableImage
from tumorctl.io.discovery import SliceFile
from tumorctl.types import SlicePrediction
from tumorctl.volumes import Outcome, without_islands

Item = tuple[int, SliceFile | None, Outcome]


def prediction(lesion: int = 0, island: int = 0, side: int = 16) -> SlicePrediction:
    """A lesion and an island in opposite corners, of so many pixels; none of either shuts the gate."""
    mask = np.zeros((side, side), np.bool_)
    mask.flat[:lesion] = True
    mask.flat[side * side - island :] = True
    return SlicePrediction(0.5, bool(lesion or island), mask if lesion or island else None)


def file(number: int, *, study: str = "s", series: str = "scan_") -> SliceFile:
    return SliceFile(Path(study, f"{series}{number}.png"), f"{series}{number}.png", study, number)


def areas(items: list[Item], share: float = 0.2) -> list[int | str]:
    kept = list(without_islands(iter(items), share))
    assert [key for key, _ in kept] == [key for key, _, _ in items]
    return [outcome.area_px if isinstance(outcome, SlicePrediction) else str(outcome) for _, outcome in kept]


def scan(*outcomes: Outcome, first: int = 1) -> list[Item]:
    return [(index, file(first + index), outcome) for index, outcome in enumerate(outcomes)]


def test_islands_go_and_the_lesion_stays() -> None:
    assert areas(scan(prediction(), prediction(island=3), prediction(), prediction(30), prediction(30, 4))) == [
        0,
        0,
        0,
        30,
        30,
    ]


def test_what_touches_the_lesion_in_the_next_slice_stays() -> None:
    assert areas(scan(prediction(40), prediction(2))) == [40, 2]


def test_an_unsegmented_slice_parts_what_lies_on_both_sides() -> None:
    assert areas(scan(prediction(40), prediction(), prediction(2))) == [40, 0, 0]


def test_a_slice_whose_mask_is_emptied_is_still_segmented() -> None:
    (_, emptied), _ = without_islands(iter(scan(prediction(island=2), prediction(50))), 0.2)
    assert isinstance(emptied, SlicePrediction)
    assert emptied.segmented
    assert not emptied.has_tumor


def test_without_a_share_everything_is_handed_on_at_once() -> None:
    def endless() -> Iterator[Item]:
        yield 0, file(1), prediction(40, 2)
        pytest.fail("read ahead")

    _, outcome = next(without_islands(endless(), 0.0))
    assert isinstance(outcome, SlicePrediction)
    assert outcome.area_px == 42


@pytest.mark.parametrize(
    "second",
    [
        (1, file(3), prediction(2)),
        (1, file(2, series="other_"), prediction(2)),
        (1, file(2, study="t"), prediction(2)),
        (1, file(2), prediction(2, side=32)),
        (1, None, UnreadableImage("folder")),
    ],
    ids=["a number is left out", "another scan", "another study", "another size", "no slice"],
)
def test_one_scan_does_not_decide_about_another(second: Item) -> None:
    items: list[Item] = [(0, file(1), prediction(island=40)), second]
    expected = "folder" if second[1] is None else 2
    assert areas(items) == [40, expected]


def test_a_slice_that_failed_stays_in_its_place() -> None:
    assert areas(scan(prediction(40), UnreadableImage("damaged"), prediction(2))) == [40, "damaged", 0]


def test_what_came_before_a_failure_is_handed_on_first() -> None:
    def failing() -> Iterator[Item]:
        yield from scan(prediction(40), prediction(island=2))
        raise ServerError("gone")

    seen: list[Outcome] = []
    with pytest.raises(TumorctlError, match="gone"):
        seen.extend(outcome for _, outcome in without_islands(failing(), 0.2))
    assert [outcome.area_px for outcome in seen if isinstance(outcome, SlicePrediction)] == [40, 0]


def test_a_very_long_scan_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tumorctl.volumes, "_LARGEST", 2 * 16 * 16)
    assert areas(scan(prediction(40), prediction(40), prediction(island=2))) == [40, 40, 2]
