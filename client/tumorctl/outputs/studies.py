"""The folder of one study's results."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tumorctl.errors import MissingExtra, OutputError, TumorctlError
from tumorctl.outputs.files import write_whole

if TYPE_CHECKING:
    import pydicom

    from tumorctl.study import StudyPrediction

STUDIES = "studies"
MASK_FILE = "mask.nii.gz"
SEG_FILE = "seg.dcm"
SR_FILE = "sr.dcm"
OVERLAY_FILE = "overlay.dcm"
PICTURE_FILE = "overlay.png"
MEASUREMENTS_FILE = "measurements.json"
STUDY_FILES = (MASK_FILE, PICTURE_FILE, SEG_FILE, SR_FILE, OVERLAY_FILE, MEASUREMENTS_FILE)


@dataclass(frozen=True, slots=True)
class StudyFiles:
    """What was written of one study.

    Attributes:
        files: relative to the results folder, with ``/``.
        problems: what could not be made, and why; empty where nothing is missing.
    """

    files: tuple[str, ...]
    problems: tuple[str, ...]


def write_study(folder: Path, prediction: StudyPrediction, *, dicom: bool = True) -> StudyFiles:
    """Write all that is known of one study into its own folder, ``studies/<study>`` of the results.

    Always the mask as NIfTI and ``measurements.json``, which comes last: where it is, the rest is. Where something was
    outlined, a picture of its slices. For a study that was
    read from DICOM also the structured report and, where something was outlined, the segmentation and the overlay. A
    DICOM object that cannot be made is a problem in the answer and keeps nothing else from being written. Files of the
    same names from an earlier run are replaced or removed.

    Args:
        folder: of the whole run's results.
        prediction: the study's result.
        dicom: whether to write DICOM objects.

    Raises:
        OutputError: a file could not be written.
        MissingExtra: the clinical part is not installed.
    """
    name = study_folder(prediction.study)
    place = folder / name
    forget_study(folder, prediction.study)
    written, problems = [MASK_FILE], []
    prediction.to_nifti(place / MASK_FILE)
    if prediction.has_tumor:
        from tumorctl.outputs.pictures import contact_sheet

        sheet = contact_sheet(prediction.flair, prediction.mask, prediction.measurements.diameters)
        write_whole(place / PICTURE_FILE, sheet)
        written.append(PICTURE_FILE)
    if dicom and prediction.flair_instances:
        objects: dict[str, Callable[[], pydicom.Dataset]] = {SR_FILE: prediction.to_dicom_sr}
        if prediction.has_tumor:
            objects = {SEG_FILE: prediction.to_dicom_seg, **objects, OVERLAY_FILE: prediction.to_dicom_sc}
        for file, make in objects.items():
            content = _encoded(make)
            if isinstance(content, TumorctlError):
                problems.append(f"{file}: {content}")
            else:
                write_whole(place / file, content)
                written.append(file)
    summary = {**prediction.to_dict(), "files": [*written, MEASUREMENTS_FILE], "problems": problems}
    write_whole(place / MEASUREMENTS_FILE, (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())
    return StudyFiles(tuple(f"{name}/{file}" for file in (*written, MEASUREMENTS_FILE)), tuple(problems))


def study_folder(study: str) -> PurePosixPath:
    """Where a study's files lie, relative to the results; never outside them, whatever the study is called."""
    parts = [part for part in PurePosixPath(study).parts if part not in ("/", "//", "..", ".")]
    return PurePosixPath(STUDIES, *(parts or ("study",)))


def forget_study(folder: Path, study: str) -> None:
    """Remove a study's files of an earlier run, and its folder where nothing else is in it.

    Raises:
        OutputError: something cannot be removed.
    """
    place = folder / study_folder(study)
    try:
        for file in STUDY_FILES:
            (place / file).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{place} holds results of an earlier run that cannot be removed ({error.strerror})") from (
            error
        )
    for parent in (place, *place.parents):
        if parent == folder:
            break
        with contextlib.suppress(OSError):
            parent.rmdir()


def _encoded(make: Callable[[], pydicom.Dataset]) -> bytes | TumorctlError:
    """A DICOM object as the bytes of its file, or why there is none."""
    try:
        made = make()
        from tumorctl.outputs.dicom.source import making

        with making("DICOM file"):
            buffer = io.BytesIO()
            made.save_as(buffer, enforce_file_format=True)
            return buffer.getvalue()
    except MissingExtra:
        raise
    except TumorctlError as error:
        return error
