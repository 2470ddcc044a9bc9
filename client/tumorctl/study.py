"""What the networks say of one study: a mask in the patient, and how it came about."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tumorctl.contract import NOTICE
from tumorctl.errors import MaskMismatch
from tumorctl.extras import needs_extra
from tumorctl.types import EngineInfo, RegistrationReport, SeriesChoice, SeriesRole

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pydicom

    from tumorctl.core.geometry import Grid, Volume
    from tumorctl.core.measurements import Measurements
    from tumorctl.outputs.measured import Frame

__all__ = ["RegistrationReport", "SeriesChoice", "SeriesRole", "StudyPrediction"]


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

    Raises:
        MaskMismatch: the mask is not on the grid, or the FLAIR is on another.
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
    _measured: list[Measurements] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.mask.shape != self.grid.shape or self.mask.dtype != bool:
            raise MaskMismatch(f"a {self.mask.dtype} mask of shape {self.mask.shape} on a grid of {self.grid.shape}")
        if not self.flair.grid.is_close(self.grid):
            raise MaskMismatch("the FLAIR and the mask are on different grids")
        mask = self.mask.view()
        mask.setflags(write=False)
        object.__setattr__(self, "mask", mask)

    @property
    def has_tumor(self) -> bool:
        """Whether anything was outlined."""
        return bool(self.mask.any())

    def choice(self, role: SeriesRole) -> SeriesChoice:
        """What was chosen for a role."""
        return next(choice for choice in self.series if choice.role is role)

    @property
    def frame(self) -> Frame:
        """The frame that the study's own format speaks: LPS for DICOM, RAS for NIfTI."""
        from tumorctl.outputs.measured import Frame

        return Frame.lps if self.flair_instances else Frame.ras

    @property
    def measurements(self) -> Measurements:
        """What is measured on the mask, computed when first asked for.

        Raises:
            MissingExtra: the clinical part is not installed.
        """
        if not self._measured:
            with needs_extra("clinical", "measuring"):
                from tumorctl.core.measurements import measure
                from tumorctl.core.midline import estimate_midline

                self._measured.append(measure(self.mask, self.grid, estimate_midline(self.flair)))
        return self._measured[0]

    def to_nifti(self, path: str | os.PathLike[str]) -> None:
        """Write the mask as NIfTI on the FLAIR's grid: uint8, 1 inside the tumour.

        Args:
            path: ends in ``.nii`` or ``.nii.gz``; written whole or not at all.

        Raises:
            OutputError: it could not be written.
            MissingExtra: the clinical part is not installed.
        """
        with needs_extra("clinical", "writing NIfTI"):
            from tumorctl.outputs.nifti import write_mask
        write_mask(Path(path), self.mask, self.grid)

    def to_dicom_seg(self) -> pydicom.Dataset:
        """The outline as a DICOM Segmentation that refers to the FLAIR's instances; ``save_as`` writes it.

        Raises:
            NoDicomSource: the study was not read from DICOM.
            MissingDicomTag: the FLAIR lacks an attribute that the object needs.
            MaskMismatch: the mask does not lie where the FLAIR's instances are.
            OutputError: nothing was outlined, or the FLAIR's header does not allow it.
            MissingExtra: the clinical part is not installed.
        """
        with needs_extra("clinical", "writing DICOM"):
            from tumorctl.outputs.dicom.seg import segmentation
        return segmentation(self)

    def to_dicom_sr(self) -> pydicom.Dataset:
        """The measurements as a DICOM structured report (TID 1500), also of a study without tumour.

        Raises:
            NoDicomSource: the study was not read from DICOM.
            MissingDicomTag: the FLAIR lacks an attribute that the object needs.
            MaskMismatch: the mask does not lie where the FLAIR's instances are.
            OutputError: the FLAIR's header does not allow it.
            MissingExtra: the clinical part is not installed.
        """
        with needs_extra("clinical", "writing DICOM"):
            from tumorctl.outputs.dicom.sr import structured_report
        return structured_report(self, self.measurements)

    def to_dicom_sc(self) -> pydicom.Dataset:
        """The FLAIR's slices with the outline drawn on them as a DICOM secondary capture.

        Raises:
            NoDicomSource: the study was not read from DICOM.
            MissingDicomTag: the FLAIR lacks an attribute that the object needs.
            MaskMismatch: the mask does not lie where the FLAIR's instances are.
            OutputError: nothing was outlined, or the FLAIR's header does not allow it.
            MissingExtra: the clinical part is not installed.
        """
        with needs_extra("clinical", "writing DICOM"):
            from tumorctl.outputs.dicom.sc import secondary_capture
        return secondary_capture(self, self.measurements)

    def to_dict(self) -> dict[str, Any]:
        """All but the images, JSON-safe and without patient data; names carry units and frames.

        Raises:
            MissingExtra: the clinical part is not installed.
        """
        from tumorctl import __version__
        from tumorctl.outputs.measured import measurements_as_dict

        return {
            "tumorctl": __version__,
            "notice": NOTICE,
            "study": self.study,
            "tumor": self.has_tumor,
            "tumor_probability": self.tumor_probability,
            "measurements": measurements_as_dict(self.measurements, self.frame),
            "grid": {
                "shape": list(self.grid.shape),
                "axes": ["slice", "row", "column"],
                "spacing_mm": list(self.grid.spacing_mm),
                "affine_ras": self.grid.affine_ras.tolist(),
            },
            "slice_probabilities": list(self.slice_probabilities),
            "slice_segmented": list(self.slice_segmented),
            "series": [{**asdict(choice), "role": choice.role.value} for choice in self.series],
            "warnings": list(self.warnings),
            "registration": [{**asdict(report), "role": report.role.value} for report in self.registration],
            "engine": asdict(self.engine),
            "gate_threshold": self.gate_threshold,
            "timings_s": dict(self.timings_s),
        }
