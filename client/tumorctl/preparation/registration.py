"""Rigid registration of one series to the FLAIR by content: headers alone may be wrong by centimetres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 (the name its own documentation uses)

from tumorctl.core.geometry import Volume
from tumorctl.preparation.resampling import as_image
from tumorctl.types import RegistrationReport, SeriesRole

_COARSE_MM, _FINE_MM = 4.0, 2.0
_BINS = 32
_THREADS = 1
"""Sums over several threads come in any order and differ in their digits, so that no two runs agree."""

_DECIMALS = 6
"""Of radians and mm; what is left of differences between runs is far smaller."""

_CUT_PERCENTILE = 99.5
_SHIFTS_MM = (-24.0, -16.0, -8.0, -4.0, -2.0, 2.0, 4.0, 8.0, 16.0, 24.0)
_TURNS_DEG = (-4.0, -2.0, 2.0, 4.0)
_LEAST_COMMON = 0.25
_LEAST_VOXELS = 500
_MAX_SHIFT_MM = 80.0
_MAX_TURN_DEG = 30.0


@dataclass(frozen=True, slots=True)
class _Level:
    """One step of the optimisation: voxels in mm, share of voxels looked at, steps in mm, iterations at most."""

    voxel_mm: float
    share: float
    first_step_mm: float
    last_step_mm: float
    iterations: int


_LEVELS = (_Level(_COARSE_MM, 1.0, 2.0, 0.02, 100), _Level(_FINE_MM, 0.5, 1.0, 0.01, 100))


@dataclass(frozen=True, slots=True)
class Registration:
    """What was found.

    Attributes:
        transform: SimpleITK transform from the FLAIR's LPS mm to the series'; None where the headers stand.
        report: how well it fits.
        warning: what a reader of the result should know; empty if nothing.
    """

    transform: Any
    report: RegistrationReport
    warning: str = ""


def register(flair: Volume, moving: Volume, role: SeriesRole) -> Registration:
    """Register a series to the FLAIR: rigid, by mutual information, coarse to fine; the same input, the same answer.

    Nothing is moved where no small shift or turn makes the series fit better, and a result that fits no better than
    the headers is refused.

    Args:
        flair: stays where it is.
        moving: the series.
        role: the part it plays.
    """
    fixed, other = _cut(as_image(flair)), _cut(as_image(moving))
    coarse, coarse_other = _shrunk(fixed, _COARSE_MM), _shrunk(other, _COARSE_MM)
    centre = _centre(coarse)
    identity = _rigid(centre)
    before = _fit(coarse, coarse_other, identity)
    candidates = [
        (_fit(coarse, coarse_other, transform), number, transform)
        for number, transform in enumerate(_starts(centre, _centre(coarse_other)))
    ]
    best, _, start = max(candidates, key=lambda each: (each[0], -each[1]))
    if before > 0 and best <= before:
        return Registration(None, _report(role, before, before, None, centre, "already aligned: nothing was moved"))
    try:
        for level in _LEVELS:
            _optimise(_shrunk(fixed, level.voxel_mm), _shrunk(other, level.voxel_mm), start, level)
    except RuntimeError:
        # ITK gives up where too few voxels overlap; its message holds nothing for the user.
        return _refused(role, before, centre, "it found too little in common")
    start.SetParameters([round(value, _DECIMALS) for value in start.GetParameters()])
    after = _fit(coarse, coarse_other, start)
    report = _report(role, before, after, start, centre, "registered to the FLAIR by content")
    if after <= before:
        return _refused(role, before, centre, "the result did not fit better than the headers")
    if report.shift_mm > _MAX_SHIFT_MM or report.rotation_deg > _MAX_TURN_DEG:
        return _refused(role, before, centre, "the result lies too far away to be believed")
    return Registration(start, report)


def _refused(role: SeriesRole, before: float, centre: npt.NDArray[np.float64], why: str) -> Registration:
    note = f"registration refused: {why}"
    warning = f"{role.value}: {note}; it lies where its header says, which may not fit the FLAIR"
    return Registration(None, _report(role, before, before, None, centre, note), warning)


def _report(
    role: SeriesRole, before: float, after: float, transform: Any, centre: npt.NDArray[np.float64], note: str
) -> RegistrationReport:
    shift_mm = turn_deg = 0.0
    if transform is not None:
        shift_mm = float(np.linalg.norm(np.asarray(transform.TransformPoint(centre.tolist())) - centre))
        turn = np.asarray(transform.GetMatrix()).reshape(3, 3)
        turn_deg = float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
    return RegistrationReport(
        role=role,
        metric_before=round(before, 5),
        metric_after=round(after, 5),
        applied=transform is not None,
        shift_mm=round(shift_mm, 2),
        rotation_deg=round(turn_deg, 2),
        note=note,
    )


def _starts(centre: npt.NDArray[np.float64], other_centre: npt.NDArray[np.float64]) -> list[Any]:
    """Where to look first: small and large shifts, small turns, and the heads' middles on each other."""
    unit = np.eye(3)
    shifts = [axis * shift for axis in unit for shift in _SHIFTS_MM]
    shifts += [other_centre - centre, (0.0, 0.0, 1.0) * (other_centre - centre)]
    turns = [axis * turn for axis in unit for turn in _TURNS_DEG]
    return [_rigid(centre, shift=shift) for shift in shifts] + [_rigid(centre, turn_deg=turn) for turn in turns]


def _rigid(
    centre: npt.NDArray[np.float64],
    shift: npt.NDArray[np.float64] | None = None,
    turn_deg: npt.NDArray[np.float64] | None = None,
) -> Any:
    transform = sitk.Euler3DTransform()
    transform.SetCenter(centre.tolist())
    if shift is not None:
        transform.SetTranslation(np.asarray(shift).tolist())
    if turn_deg is not None:
        transform.SetRotation(*np.radians(turn_deg).tolist())
    return transform


def _cut(image: Any) -> Any:
    """Without the brightest voxels, which would take most of the histogram's bins."""
    voxels = sitk.GetArrayFromImage(image)
    low, high = float(voxels.min()), float(np.percentile(voxels, _CUT_PERCENTILE))
    return sitk.Clamp(image, sitk.sitkFloat32, low, high if high > low else float(voxels.max()))


def _shrunk(image: Any, voxel_mm: float) -> Any:
    sizes = zip(image.GetSpacing(), image.GetSize(), strict=True)
    factors = [min(max(1, round(voxel_mm / spacing)), max(1, size // 4)) for spacing, size in sizes]
    return sitk.BinShrink(image, factors) if max(factors) > 1 else image


def _centre(image: Any) -> npt.NDArray[np.float64]:
    """The middle of the grey levels, in LPS mm; that of the image where it is blank."""
    voxels = sitk.GetArrayFromImage(image).astype(np.float64)
    weights = voxels - voxels.min()
    if weights.sum() > 0:
        along = [
            float((np.arange(size) * weights.sum(axis=tuple({0, 1, 2} - {axis}))).sum() / weights.sum())
            for axis, size in enumerate(voxels.shape)
        ]
    else:
        along = [(size - 1) / 2 for size in voxels.shape]
    return np.asarray(image.TransformContinuousIndexToPhysicalPoint(along[::-1]))


def _fit(fixed: Any, moving: Any, transform: Any) -> float:
    """Normalised mutual information where both have voxels; 0 where that is too small a part of the smaller one."""
    outside = -1e30
    resampled = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, outside))
    voxels = sitk.GetArrayFromImage(fixed)
    common = resampled > outside / 2
    if common.sum() < max(_LEAST_VOXELS, _LEAST_COMMON * voxels.size):
        return 0.0
    first, second = _levels(voxels[common]), _levels(resampled[common])
    joint = np.bincount(first * _BINS + second, minlength=_BINS * _BINS).reshape(_BINS, _BINS) / common.sum()
    together = _entropy(joint)
    return float((_entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))) / together) if together > 0 else 0.0


def _levels(values: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(values.shape, np.intp)
    return np.minimum((values - low) * (_BINS / (high - low)), _BINS - 1).astype(np.intp)


def _entropy(shares: npt.NDArray[np.float64]) -> float:
    some = shares[shares > 0]
    return float(-(some * np.log(some)).sum())


def _optimise(fixed: Any, moving: Any, transform: Any, level: _Level) -> None:
    """Improve a transform in place."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(_THREADS)
    method.SetMetricAsMattesMutualInformation(_BINS)
    if level.share < 1:
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(level.share, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        level.first_step_mm, level.last_step_mm, level.iterations, relaxationFactor=0.7, gradientMagnitudeTolerance=1e-8
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
