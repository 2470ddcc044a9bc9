from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tumorctl.core.geometry import Grid, Volume, lps_of_ras, points_lps_of_ras, ras_of_lps
from tumorctl.errors import InvalidInput

angles = st.floats(-3.1, 3.1)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Oblique, anisotropic, either handedness."""
    first, second, third = (draw(angles) for _ in range(3))
    turn = _about(0, first) @ _about(1, second) @ _about(2, third)
    spacing = [draw(st.floats(0.2, 8)) * draw(st.sampled_from([-1, 1])) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = [draw(st.floats(-300, 300)) for _ in range(3)]
    return Grid((draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 9))), affine)


def _about(axis: int, angle: float) -> NDArray[np.float64]:
    turn = np.eye(3)
    one, two = [each for each in range(3) if each != axis]
    turn[one, one] = turn[two, two] = np.cos(angle)
    turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
    return turn


@given(grids(), st.lists(st.tuples(*[st.floats(-20, 20)] * 3), min_size=1, max_size=5))
def test_there_and_back(grid: Grid, indices: list[tuple[float, float, float]]) -> None:
    assert np.allclose(grid.to_index(grid.to_world_ras(indices)), indices, atol=1e-6)


@given(grids())
def test_lps_turns_two_axes_around(grid: Grid) -> None:
    corner = np.array([1.0, 2.0, 3.0, 1.0])
    ras, lps = grid.affine_ras @ corner, grid.affine_lps @ corner
    assert np.allclose(lps, ras * [-1, -1, 1, 1])
    assert np.allclose(points_lps_of_ras(ras[:3]), lps[:3])
    assert np.allclose(ras_of_lps(lps_of_ras(grid.affine_ras)), grid.affine_ras)


@given(grids(), st.floats(0.01, 5))
def test_equal_means_the_same_place(grid: Grid, shift_mm: float) -> None:
    moved = grid.affine_ras.copy()
    moved[2, 3] += 1e-5
    assert grid == Grid(grid.shape, moved)
    moved[2, 3] += shift_mm
    assert grid != Grid(grid.shape, moved)
    assert grid.is_close(Grid(grid.shape, moved), tolerance_mm=shift_mm + 0.01)
    assert grid != "a grid"


def test_spacing_and_center() -> None:
    grid = Grid((3, 5, 7), np.diag([4.0, 2.0, 0.5, 1.0]))
    assert grid.spacing_mm == (4.0, 2.0, 0.5)
    assert np.allclose(grid.center_ras, (4, 4, 1.5))


def test_a_grid_does_not_change() -> None:
    affine = np.eye(4)
    grid = Grid((1, 1, 1), affine)
    affine[0, 3] = 9
    assert grid.affine_ras[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        grid.affine_ras[0, 3] = 1


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((0, 1, 1), np.eye(4)),
        ((1, 1), np.eye(4)),
        ((1, 1, 1), np.zeros((4, 4))),
        ((1, 1, 1), np.diag([0.0, 0, 0, 1])),
        ((1, 1, 1), np.diag([1.0, np.nan, 1, 1])),
        ((1, 1, 1), np.eye(3)),
        ((1, 1, 1), np.array([[1.0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])),
    ],
)
def test_places_that_are_none(shape: tuple[int, int, int], affine: NDArray[np.float64]) -> None:
    with pytest.raises(InvalidInput):
        Grid(shape, affine)


def test_points_have_three_coordinates() -> None:
    with pytest.raises(InvalidInput, match="points of shape"):
        Grid((1, 1, 1), np.eye(4)).to_index([1.0, 2.0])


def test_a_volume_fills_its_grid() -> None:
    with pytest.raises(InvalidInput, match="on a grid of shape"):
        Volume(np.zeros((1, 2, 3)), Grid((3, 2, 1), np.eye(4)))
