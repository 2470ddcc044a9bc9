from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tumorctl.core.outlines import outline

ROWS, COLUMNS = np.array((0.0, 2.0, 0.0)), np.array((0.0, 0.0, 1.0))
regions = arrays.arrays(np.bool_, st.tuples(st.integers(1, 7), st.integers(1, 7))).filter(lambda region: region.any())


@settings(max_examples=60, deadline=None)
@given(region=regions)
def test_an_outline_is_closed_and_goes_between_inside_and_outside(region: npt.NDArray[np.bool_]) -> None:
    made = outline(region, ROWS, COLUMNS)
    places, counts = np.unique(made.segments.reshape(-1, 2).round(6), axis=0, return_counts=True)
    assert (counts == 2).all()  # every point joins two segments
    sides = np.pad(region, 1).astype(int)
    crossings = np.abs(np.diff(sides, axis=0)).sum() + np.abs(np.diff(sides, axis=1)).sum()
    assert len(places) == crossings
    pixels = places / (2.0, 1.0)  # in pixels along (row, column)
    assert ((pixels * 2).round(6) % 1 == 0).all()
    assert ((pixels * 2).round() % 2 == 1).sum(axis=1).tolist() == [1] * len(pixels)  # the middle of one side each


@pytest.mark.parametrize(
    ("pattern", "longest_mm", "across_mm"),
    [
        ("#", 2.0, 1.0),
        ("##", np.hypot(2, 1), None),
        ("#.\n.#", np.hypot(2 * 1.5, 1.5), None),
        ("###\n#.#\n###", np.hypot(2 * 2, 2), None),
    ],
)
def test_chords_of_small_shapes(pattern: str, longest_mm: float, across_mm: float | None) -> None:
    region = np.array([[letter == "#" for letter in line] for line in pattern.split("\n")])
    made = outline(region, ROWS, COLUMNS)
    longest = made.longest_mm
    assert longest >= longest_mm - 1e-9 if across_mm is None else longest == pytest.approx(longest_mm)
    for chord in made.chords_from(longest - 1e-9):
        width, ends = made.widest_across(chord)
        assert 0 < width <= longest + 1e-9
        assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(width)
        assert (ends[1] - ends[0]) @ (chord[1] - chord[0]) == pytest.approx(0, abs=1e-9)
        if across_mm is not None:
            assert width == pytest.approx(across_mm)


@settings(max_examples=60, deadline=None)
@given(region=regions)
def test_no_chord_at_right_angles_is_longer_than_the_one_found(region: npt.NDArray[np.bool_]) -> None:
    made = outline(region, ROWS, COLUMNS)
    chord = made.chords_from(made.longest_mm - 1e-9)[0]
    width, _ = made.widest_across(chord)
    along = (chord[1] - chord[0]) / np.linalg.norm(chord[1] - chord[0])
    across = np.array((-along[1], along[0]))
    fine = np.concatenate([np.linspace(start, end, 41) for start, end in made.segments])
    place, height = (fine @ along / 0.02).round(), fine @ across
    for stop in np.unique(place):
        here = height[place == stop]
        assert here.max() - here.min() <= width + 0.2


def test_a_sheared_plane_keeps_its_angles() -> None:
    region = np.ones((4, 6), np.bool_)
    straight = outline(region, np.array((0.0, 1.0, 0.0)), np.array((1.0, 0.0, 0.0)))
    sheared = outline(region, np.array((0.0, 1.0, 0.0)), np.array((1.0, 0.5, 0.0)))
    ends = sheared.in_space(sheared.chords_from(sheared.longest_mm - 1e-9)[0])
    assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(sheared.longest_mm)
    assert sheared.longest_mm > straight.longest_mm
