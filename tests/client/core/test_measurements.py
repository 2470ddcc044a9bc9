from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tumorctl.core.geometry import Grid
from tumorctl.core.measurements import Laterality, axial_axis, measure
from tumorctl.core.midline import Midline, MidlineSource
from tumorctl.errors import MaskMismatch

MIDDLE = Midline(0.0, MidlineSource.head)
SHAPE = (20, 44, 52)
angles = st.tuples(*[st.floats(-40, 40)] * 3)
spacings = st.tuples(st.floats(0.8, 6), st.floats(0.5, 2), st.floats(0.5, 2))


def rotation(degrees: tuple[float, ...]) -> npt.NDArray[np.float64]:
    turned = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        turned = turn @ turned
    return turned


def grid(
    spacing_mm: tuple[float, ...] = (2.0, 1.0, 1.0),
    degrees: tuple[float, ...] = (0.0, 0.0, 0.0),
    shape: tuple[int, ...] = SHAPE,
    center_ras: tuple[float, ...] = (0.0, 0.0, 0.0),
) -> Grid:
    """Axial slices upwards, rows to the front, columns to the right, then turned about the middle."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(degrees) @ np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]) * spacing_mm
    affine[:3, 3] = np.asarray(center_ras) - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    slices, rows, columns = shape
    return Grid((slices, rows, columns), affine)


def ellipsoid(on: Grid, center_ras: tuple[float, ...], radii_mm: tuple[float, ...]) -> npt.NDArray[np.bool_]:
    """With its axes along the grid's slice, row and column directions."""
    points = on.to_world_ras(np.moveaxis(np.indices(on.shape), 0, -1)) - center_ras
    directions = on.affine_ras[:3, :3] / np.asarray(on.spacing_mm)
    return np.asarray(np.square(points @ directions / radii_mm).sum(axis=-1) <= 1)


@st.composite
def blobs(draw: st.DrawFn) -> npt.NDArray[np.bool_]:
    """Unions of boxes, away from the edges so that they can be moved."""
    mask = np.zeros((8, 16, 18), np.bool_)
    for _ in range(draw(st.integers(1, 4))):
        low = [draw(st.integers(2, size - 4)) for size in mask.shape]
        high = [draw(st.integers(start + 1, size - 2)) for start, size in zip(low, mask.shape, strict=True)]
        mask[tuple(slice(*edges) for edges in zip(low, high, strict=True))] = True
    return mask


@pytest.mark.parametrize("degrees", [(0.0, 0.0, 0.0), (12.0, -8.0, 15.0)])
@pytest.mark.parametrize(
    ("spacing_mm", "shape"),
    [((1.0, 1.0, 1.0), (64, 64, 64)), ((5.0, 0.5, 0.9), (20, 110, 70)), ((2.5, 1.2, 0.7), (36, 60, 90))],
)
def test_ellipsoids_measure_what_geometry_says(
    spacing_mm: tuple[float, ...], shape: tuple[int, int, int], degrees: tuple[float, ...]
) -> None:
    radii = (19.0, 24.0, 16.0)
    on = grid(spacing_mm, degrees, shape, center_ras=(30.0, 4.0, -7.0))
    center = (31.0, 2.0, -6.0)
    measured = measure(ellipsoid(on, center, radii), on, MIDDLE)
    assert measured.volume_ml == pytest.approx(4 / 3 * np.pi * np.prod(radii) / 1000, rel=0.01)
    assert measured.diameters is not None
    assert measured.diameters.axis == 0
    assert measured.diameters.longest_mm == pytest.approx(48, rel=0.01, abs=max(spacing_mm[1:]))
    assert measured.diameters.perpendicular_mm == pytest.approx(32, rel=0.01, abs=max(spacing_mm[1:]))
    assert measured.centroid_ras_mm == pytest.approx(center, abs=max(spacing_mm) / 10)
    assert measured.centroid_lps_mm == pytest.approx((-center[0], -center[1], center[2]), abs=max(spacing_mm) / 10)
    assert measured.laterality is Laterality.right
    assert measured.lesions == 1
    for ends, length in (
        (measured.diameters.longest_ends_ras_mm, measured.diameters.longest_mm),
        (measured.diameters.perpendicular_ends_ras_mm, measured.diameters.perpendicular_mm),
    ):
        assert np.linalg.norm(np.subtract(*ends)) == pytest.approx(length)
        assert on.to_index(ends)[:, 0] == pytest.approx([measured.diameters.index] * 2)
    along, across = (
        np.subtract(*ends)
        for ends in (measured.diameters.longest_ends_ras_mm, measured.diameters.perpendicular_ends_ras_mm)
    )
    assert along @ across == pytest.approx(0, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(mask=blobs(), spacing_mm=spacings, degrees=angles)
def test_simpleitk_measures_the_same(
    mask: npt.NDArray[np.bool_], spacing_mm: tuple[float, ...], degrees: tuple[float, ...]
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    on = grid(spacing_mm, degrees, mask.shape, center_ras=(5.0, 6.0, 7.0))
    assume(axial_axis(on) == 0)
    measured = measure(mask, on, MIDDLE)
    lps = on.affine_lps[:, [2, 1, 0, 3]]

    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing([float(x) for x in np.linalg.norm(lps[:3, :3], axis=0)])
    image.SetOrigin([float(x) for x in lps[:3, 3]])
    image.SetDirection([float(x) for x in (lps[:3, :3] / np.linalg.norm(lps[:3, :3], axis=0)).ravel()])
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.Execute(image)
    assert measured.volume_ml == pytest.approx(statistics.GetPhysicalSize(1) / 1000, rel=1e-6)
    assert measured.centroid_lps_mm == pytest.approx(statistics.GetCentroid(1), abs=1e-4)

    # Diameters of each region of each slice; SimpleITK measures between centres of pixels, we to their sides.
    statistics.ComputeFeretDiameterOn()
    longest = 0.0
    for index in range(mask.shape[0]):
        flat = sitk.GetImageFromArray(mask[index].astype(np.uint8))
        flat.SetSpacing([float(spacing_mm[2]), float(spacing_mm[1])])
        regions = sitk.ConnectedComponent(flat, True)
        statistics.Execute(regions)
        longest = max([longest, *(statistics.GetFeretDiameter(label) for label in statistics.GetLabels())])
    assert measured.diameters is not None
    assert longest - 1e-6 <= measured.diameters.longest_mm <= longest + np.hypot(spacing_mm[1], spacing_mm[2])


@settings(max_examples=30, deadline=None)
@given(
    mask=blobs(),
    spacing_mm=spacings,
    degrees=angles,
    shift=st.tuples(*[st.integers(-2, 2)] * 3),
    move_mm=st.tuples(*[st.floats(-50, 50)] * 3),
)
def test_moving_and_turning_change_no_size(
    mask: npt.NDArray[np.bool_],
    spacing_mm: tuple[float, ...],
    degrees: tuple[float, ...],
    shift: tuple[int, int, int],
    move_mm: tuple[float, ...],
) -> None:
    straight = grid(spacing_mm, shape=mask.shape)
    turned = grid(spacing_mm, degrees, mask.shape, center_ras=move_mm)
    assume(axial_axis(turned) == 0)
    first = measure(mask, straight, MIDDLE)
    second = measure(np.roll(mask, shift, axis=(0, 1, 2)), turned, MIDDLE)
    assert first.diameters is not None
    assert second.diameters is not None
    assert second.volume_ml == pytest.approx(first.volume_ml)
    assert second.lesion_volumes_ml == pytest.approx(first.lesion_volumes_ml)
    assert second.diameters.longest_mm == pytest.approx(first.diameters.longest_mm)
    assert second.diameters.perpendicular_mm == pytest.approx(first.diameters.perpendicular_mm)
    assert second.diameters.perpendicular_mm <= second.diameters.longest_mm + 1e-6
    assert first.centroid_ras_mm is not None
    moved = turned.to_world_ras(straight.to_index(first.centroid_ras_mm) + shift)
    assert second.centroid_ras_mm == pytest.approx(moved, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(mask=blobs(), spacing_mm=spacings, order=st.permutations((0, 1, 2)), flips=st.tuples(*[st.booleans()] * 3))
def test_the_order_of_voxels_in_memory_changes_nothing(
    mask: npt.NDArray[np.bool_], spacing_mm: tuple[float, ...], order: list[int], flips: tuple[bool, ...]
) -> None:
    on = grid(spacing_mm, shape=mask.shape, center_ras=(3.0, 0.0, 0.0))
    affine = on.affine_ras.copy()
    stored = mask
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (mask.shape[axis] - 1)
            affine[:3, axis] *= -1
            stored = np.flip(stored, axis)
    stored = stored.transpose(order)
    first = measure(mask, on, MIDDLE)
    slices, rows, columns = stored.shape
    second = measure(stored, Grid((slices, rows, columns), affine[:, [*order, 3]]), MIDDLE)
    assert first.diameters is not None
    assert second.diameters is not None
    assert second.volume_ml == pytest.approx(first.volume_ml)
    assert second.diameters.longest_mm == pytest.approx(first.diameters.longest_mm)
    assert second.diameters.perpendicular_mm == pytest.approx(first.diameters.perpendicular_mm)
    assert order[second.diameters.axis] == 0
    assert second.centroid_ras_mm == pytest.approx(first.centroid_ras_mm)
    assert second.laterality is first.laterality


def test_one_voxel_is_as_long_as_its_sides() -> None:
    mask = np.zeros(SHAPE, np.bool_)
    mask[3, 10, 20] = True
    diameters = measure(mask, grid((4.0, 1.5, 0.75)), MIDDLE).diameters
    assert diameters is not None
    assert (diameters.longest_mm, diameters.perpendicular_mm) == pytest.approx((1.5, 0.75))
    assert diameters.index == 3


def test_a_rectangle_with_a_notch_is_as_wide_as_its_widest_chord() -> None:
    mask = np.zeros((1, 40, 40), np.bool_)
    mask[0, 5:15, 5:35] = True  # 10 x 30 pixels
    mask[0, 15:25, 5:9] = True  # and a leg
    diameters = measure(mask, grid((5.0, 1.0, 1.0), shape=(1, 40, 40)), MIDDLE).diameters
    assert diameters is not None
    # From the foot of the leg (row 25, column 5, sides' middles) to the upper right corner.
    assert diameters.longest_mm == pytest.approx(np.hypot(29.5, 19.5), abs=0.6)
    assert 9 < diameters.perpendicular_mm < 20


def test_diameters_never_span_two_regions() -> None:
    mask = np.zeros(SHAPE, np.bool_)
    mask[5, 2:7, 2:7] = True
    mask[5, 38:42, 40:50] = True
    measured = measure(mask, grid(), MIDDLE)
    assert measured.diameters is not None
    assert measured.diameters.longest_mm == pytest.approx(np.hypot(10, 3), abs=0.6)
    assert measured.lesions == 2
    assert measured.lesion_volumes_ml == pytest.approx((0.08, 0.05))


def test_nothing_outlined_is_measured_as_nothing() -> None:
    measured = measure(np.zeros(SHAPE, np.bool_), grid(), MIDDLE)
    assert (measured.volume_ml, measured.lesions) == (0.0, 0)
    assert (measured.diameters, measured.centroid_ras_mm, measured.centroid_lps_mm, measured.laterality) == (None,) * 4


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([(30, 45)], Laterality.right),
        ([(5, 20)], Laterality.left),
        ([(20, 32)], Laterality.midline),
        ([(8, 44)], Laterality.bilateral),
        ([(2, 10), (42, 50)], Laterality.bilateral),
        ([(26, 50), (25, 26)], Laterality.right),  # 1 of 25 columns on the other side
    ],
)
def test_sides_are_the_patients(columns: list[tuple[int, int]], expected: Laterality) -> None:
    mask = np.zeros(SHAPE, np.bool_)
    for first, last in columns:
        mask[4:6, 10:20, first:last] = True
    assert measure(mask, grid(), MIDDLE).laterality is expected
    mirrored = grid().affine_ras.copy()
    mirrored[0] *= -1
    opposite = {Laterality.left: Laterality.right, Laterality.right: Laterality.left}
    assert measure(mask, Grid(SHAPE, mirrored), MIDDLE).laterality is opposite.get(expected, expected)


def test_a_mask_of_another_shape_or_type_is_refused() -> None:
    with pytest.raises(MaskMismatch, match="shape"):
        measure(np.zeros((3, 4, 5), np.bool_), grid(), MIDDLE)
    with pytest.raises(MaskMismatch, match="uint8"):
        measure(np.zeros(SHAPE, np.uint8), grid(), MIDDLE)
