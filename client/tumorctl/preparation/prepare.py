"""The series of a study as slices for the networks, and masks of these slices back on the FLAIR."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tumorctl.core.geometry import Grid, Volume
from tumorctl.io.series import StudyInput
from tumorctl.preparation.axial import axial_grid
from tumorctl.preparation.framing import Window, window
from tumorctl.preparation.intensities import to_8_bits
from tumorctl.preparation.registration import register
from tumorctl.preparation.resampling import mask_onto, onto
from tumorctl.types import RegistrationReport, SeriesChoice, SeriesRole

_T1_NAMES = {SeriesRole.t1_pre: "T1 before contrast", SeriesRole.t1_post: "T1 after contrast"}


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A study as the networks see it.

    Attributes:
        slices: uint8, shape (slice, row, column, 3), channels T1 before contrast, FLAIR, T1 after contrast; axial, the
            nose up and the patient's right on the left, from the feet to the head. What of `axial` is in `window`.
        axial: where the axial slices lie.
        window: rows and columns of the axial slices that are shown.
        flair: the FLAIR on its own grid.
        series: what was chosen for each role, in the order of the channels.
        registration: one report for each series that was compared with the FLAIR.
        warnings: what a reader of the result should know.
        timings_s: seconds that each step took.
    """

    slices: npt.NDArray[np.uint8]
    axial: Grid
    window: Window
    flair: Volume
    series: tuple[SeriesChoice, ...]
    registration: tuple[RegistrationReport, ...]
    warnings: tuple[str, ...]
    timings_s: Mapping[str, float]

    def on_flair(self, masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Masks of the slices as a mask on the FLAIR's own grid.

        Args:
            masks: bool, shape (slice, row, column) of `slices`.

        Returns:
            bool, shape (slice, row, column) of the FLAIR.
        """
        whole = np.zeros(self.axial.shape, np.bool_)
        self.window.of(whole)[...] = masks
        return mask_onto(whole, self.axial, self.flair.grid)

    def per_slice(
        self, mask: npt.NDArray[np.bool_], probabilities: Sequence[float], segmented: Sequence[bool]
    ) -> tuple[tuple[float | None, ...], tuple[bool, ...]]:
        """What was said of the networks' slices, for each slice of the FLAIR.

        Args:
            mask: bool, on the FLAIR's grid.
            probabilities: one per axial slice, in [0, 1].
            segmented: whether it passed the gate, one per axial slice.

        Returns:
            One of each per slice of the FLAIR. Where that is not axial, a slice with tumour has the largest probability
            of the axial slices that its tumour lies in, and one without has None.
        """
        grid = self.flair.grid
        along = self.axial.affine_ras[:3, 0] / self.axial.spacing_mm[0]
        parallel = abs(float(along @ grid.affine_ras[:3, 0])) / grid.spacing_mm[0]
        if parallel > _PARALLEL:
            rows, columns = (np.full(grid.shape[0], (size - 1) / 2) for size in grid.shape[1:])
            middles = np.stack([np.arange(grid.shape[0]), rows, columns], axis=-1)
            places = self._places(middles)
            return tuple(float(probabilities[place]) for place in places), tuple(bool(segmented[p]) for p in places)
        known: list[float | None] = []
        for number, plane in enumerate(mask):
            inside = np.argwhere(plane)
            if not len(inside):
                known.append(None)
                continue
            places = self._places(np.column_stack([np.full(len(inside), number), inside]))
            known.append(max(float(probabilities[place]) for place in np.unique(places)))
        return tuple(known), tuple(probability is not None for probability in known)

    def _places(self, indices: npt.NDArray[np.generic]) -> npt.NDArray[np.intp]:
        """The axial slices nearest to voxels of the FLAIR."""
        found = self.axial.to_index(self.flair.grid.to_world_ras(indices))[:, 0]
        return np.asarray(np.clip(np.rint(found), 0, self.axial.shape[0] - 1), np.intp)


_PARALLEL = 0.999
"""Cosine from which the FLAIR's slices are the axial ones."""


def prepare(study: StudyInput) -> Prepared:
    """Bring the series of a study together on axial slices of the FLAIR, as the networks were trained to see them.

    Each T1 is registered to the FLAIR by content; one that is missing is replaced by the FLAIR, as in the data set.

    Args:
        study: has a FLAIR.

    Raises:
        UnusableSeries: the FLAIR is too small to make slices of.
        OversizedInput: its axial slices would have too many voxels.
    """
    flair, flair_choice = study.chosen[SeriesRole.flair]
    axial = axial_grid(flair.volume.grid)
    timings: dict[str, float] = {"registration": 0.0, "preparation": 0.0}
    started = time.perf_counter()
    channels = {SeriesRole.flair: to_8_bits(onto(flair.volume, axial))}
    timings["preparation"] += time.perf_counter() - started
    choices = {SeriesRole.flair: flair_choice}
    reports: list[RegistrationReport] = []
    warnings = list(study.warnings)
    for role, name in _T1_NAMES.items():
        if role not in study.chosen:
            channels[role] = channels[SeriesRole.flair]
            warnings += [] if any(name in warning for warning in warnings) else [_missing(name)]
            choices[role] = SeriesChoice(role, flair.name, f"no {name} was found", substituted=True)
            continue
        series, choices[role] = study.chosen[role]
        if choices[role].substituted:
            channels[role] = channels[SeriesRole.flair]
            continue
        started = time.perf_counter()
        found = register(flair.volume, series.volume, role)
        timings["registration"] += time.perf_counter() - started
        reports.append(found.report)
        warnings += [found.warning] if found.warning else []
        started = time.perf_counter()
        channels[role] = to_8_bits(onto(series.volume, axial, found.transform))
        timings["preparation"] += time.perf_counter() - started
    started = time.perf_counter()
    shown = window(channels[SeriesRole.flair])
    slices = np.stack([shown.of(channels[role]) for role in SeriesRole], axis=-1)
    timings["preparation"] += time.perf_counter() - started
    return Prepared(
        slices=slices,
        axial=axial,
        window=shown,
        flair=flair.volume,
        series=tuple(choices[role] for role in SeriesRole),
        registration=tuple(reports),
        warnings=tuple(warnings),
        timings_s=timings,
    )


def _missing(name: str) -> str:
    return f"the {name} is missing; the FLAIR stands in for it"
