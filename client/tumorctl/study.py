"""What the networks say of one study: a mask in the patient, and how it came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from tumorctl.types import EngineInfo

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pydicom

    from tumorctl.core.geometry import Grid, Volume


class SeriesRole(str, Enum):
    """What a series is to the networks, in the order of their channels.

    Attributes:
        t1_pre: T1-weighted, before contrast agent.
        flair: T2-weighted with the fluid's signal nulled; its grid is the mask's.
        t1_post: T1-weighted, after contrast agent.
    """

    t1_pre = "t1_pre"
    flair = "flair"
    t1_post = "t1_post"


@dataclass(frozen=True, slots=True)
class SeriesChoice:
    """Which series plays a role, and why.

    Attributes:
        role: the part it plays.
        series: a name without patient data: the file, or ``series 3 of 7``.
        reason: why this one.
        substituted: whether it is the FLAIR, in place of a series that is missing.
    """

    role: SeriesRole
    series: str
    reason: str
    substituted: bool = False


@dataclass(frozen=True, slots=True)
class RegistrationReport:
    """How well a series fits the FLAIR before and after registration.

    Attributes:
        role: the series that moved.
        metric_before: normalised mutual information with the FLAIR by the headers alone; more is better.
        metric_after: the same after the registration; equal to `metric_before` where it was not applied.
        applied: whether the registration was kept.
        shift_mm: how far the middle of the head moved, in mm; 0 where not applied.
        rotation_deg: by how much it turned, in degrees; 0 where not applied.
        note: what was decided, and why.
    """

    role: SeriesRole
    metric_before: float
    metric_after: float
    applied: bool
    shift_mm: float
    rotation_deg: float
    note: str


@dataclass(frozen=True, slots=True, eq=False)
class StudyPrediction:
    """What the networks say of one study.

    Attributes:
        study: its name, without patient data: the folder or file it was read from, relative to what the caller named.
        mask: bool, shape (slice, row, column) of the FLAIR as it was acquired, True inside the tumour.
        grid: where the mask's voxels lie; the FLAIR's own grid.
        flair: the FLAIR itself on that grid, in the units it was stored in.
        tumor_probability: the largest of the slices the networks saw, in [0, 1].
        slice_probabilities: one per slice of the mask. None where the FLAIR was acquired in another plane than the
            networks' (axial) and nothing was drawn on that slice.
        slice_segmented: whether the slice passed the gate, one per slice of the mask.
        series: what was chosen for each role, in the order of the networks' channels.
        warnings: what a reader of the result should know, such as a series that was replaced.
        registration: one report for each series that was registered to the FLAIR.
        engine: which networks answered.
        gate_threshold: probability from which a slice was outlined; None where the server does not tell.
        flair_instances: the FLAIR's DICOM instances in the order of the mask's slices, one where it is a multi-frame
            object; empty for other input.
        flair_frames: index of the frame of each of the mask's slices in a multi-frame object; empty for classic
            instances and other input.
        timings_s: seconds that each step took.
    """

    study: str
    mask: npt.NDArray[np.bool_]
    grid: Grid
    flair: Volume
    tumor_probability: float
    slice_probabilities: tuple[float | None, ...]
    slice_segmented: tuple[bool, ...]
    series: tuple[SeriesChoice, ...]
    warnings: tuple[str, ...]
    registration: tuple[RegistrationReport, ...]
    engine: EngineInfo
    gate_threshold: float | None = None
    flair_instances: tuple[pydicom.Dataset, ...] = ()
    flair_frames: tuple[int, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)

    @property
    def has_tumor(self) -> bool:
        """Whether anything was outlined."""
        return bool(self.mask.any())

    def choice(self, role: SeriesRole) -> SeriesChoice:
        """What was chosen for a role."""
        return next(choice for choice in self.series if choice.role is role)
