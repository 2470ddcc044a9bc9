"""Whole studies through a client: read, prepared, predicted slice by slice, and put back onto the FLAIR."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tumorctl.core.components import main_components
from tumorctl.errors import InvalidInput, InvalidOption, UnreadableStudy
from tumorctl.extras import needs_extra
from tumorctl.io.discovery import must_be_there
from tumorctl.io.series import StudyFailure, StudyInput
from tumorctl.io.sources import Format, Source, find_sources, format_of, read_source
from tumorctl.study import StudyPrediction
from tumorctl.types import SeriesRole

if TYPE_CHECKING:
    import pydicom

    from tumorctl.client import TumorClient

    StudySource = str | os.PathLike[str] | Mapping[SeriesRole | str, str | os.PathLike[str]] | Sequence[pydicom.Dataset]


def read_one(source: StudySource, named: Mapping[SeriesRole, str]) -> StudyInput:
    """Read the one study of a source.

    Args:
        source: see `TumorClient.predict_study`.
        named: files or series that the caller named.

    Raises:
        InvalidInput: there is no study, there are several, or it cannot be used.
        MissingExtra: the clinical part is not installed.
    """
    found = list(_inputs(source, named))
    if not found:
        raise UnreadableStudy("no study found: expected NIfTI or DICOM files, a folder of them or a zip file")
    if len(found) > 1:
        names = ", ".join(each.study for each in found[:5])
        raise InvalidInput(f"{len(found)} studies found ({names}): give one of them, or use `tumorctl predict`")
    if isinstance(found[0], StudyFailure):
        raise found[0].error
    return found[0]


class StudyInterrupted(Exception):
    """The caller asked to stop before all slices of the study were predicted."""


def predict_input(
    client: TumorClient, study: StudyInput, main_share: float, stop: threading.Event | None = None
) -> StudyPrediction:
    """Predict one study that was read.

    Args:
        client: what predicts slices.
        study: has a FLAIR.
        main_share: see `main_components`.
        stop: once set, no further slice goes to the networks.

    Raises:
        StudyInterrupted: it was stopped.
        InvalidInput: the study cannot be used.
        MissingExtra: the clinical part is not installed.
        EngineError: inference failed.
    """
    with needs_extra("clinical", "preparing studies"):
        from tumorctl.preparation.prepare import prepare
    if stop is not None and stop.is_set():
        raise StudyInterrupted
    prepared = prepare(study)
    started = time.perf_counter()
    masks = np.zeros(prepared.slices.shape[:3], np.bool_)
    probabilities: list[float] = []
    segmented: list[bool] = []
    for number, outcome in enumerate(client.predict(_until(stop, prepared.slices))):
        probabilities.append(outcome.tumor_probability)
        segmented.append(outcome.segmented)
        if outcome.mask is not None:
            masks[number] = outcome.mask
    if len(probabilities) < len(masks):
        raise StudyInterrupted
    inferred = time.perf_counter()
    mask = prepared.on_flair(main_components(masks, main_share))
    per_slice, passed = prepared.per_slice(mask, probabilities, segmented)
    flair, _ = study.chosen[SeriesRole.flair]
    timings = {**prepared.timings_s, "inference": inferred - started, "mask": time.perf_counter() - inferred}
    return StudyPrediction(
        study=study.study,
        mask=mask,
        grid=flair.volume.grid,
        flair=flair.volume,
        tumor_probability=max(probabilities),
        slice_probabilities=per_slice,
        slice_segmented=passed,
        series=prepared.series,
        warnings=prepared.warnings,
        registration=prepared.registration,
        engine=client.info,
        gate_threshold=client.gate_threshold,
        flair_instances=flair.instances,
        flair_frames=flair.frames,
        timings_s={step: round(seconds, 4) for step, seconds in timings.items()},
    )


def roles_named(named: Mapping[Any, Any]) -> dict[SeriesRole, str]:
    """Names by role, those that are None left out.

    Raises:
        InvalidOption: there is no such role.
    """
    try:
        return {SeriesRole(role): os.fspath(name) for role, name in named.items() if name is not None}
    except ValueError as error:
        known = ", ".join(role.value for role in SeriesRole)
        raise InvalidOption(f"there are the roles {known}, and no other") from error


def _until(stop: threading.Event | None, slices: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
    for plane in slices:
        if stop is not None and stop.is_set():
            return
        yield plane


def _inputs(source: StudySource, named: Mapping[SeriesRole, str]) -> Iterator[StudyInput | StudyFailure]:
    if isinstance(source, Mapping):
        files = roles_named(source)
        if SeriesRole.flair not in files:
            raise InvalidOption("a study needs a FLAIR: name its file as `flair`")
        folder = Path(files[SeriesRole.flair]).absolute().parent
        yield from read_source(Source(folder.name or "study", Format.nifti, folder), {**files, **named})
        return
    if not isinstance(source, (str, os.PathLike)):
        yield from _datasets(source, named)
        return
    path = Path(source)
    must_be_there(path)
    if path.is_file() and format_of(path) is None:
        raise UnreadableStudy(f"{path.name}: neither NIfTI nor DICOM nor a zip file")
    for found in find_sources([path]):
        yield from read_source(found, named)


def _datasets(
    source: Sequence[pydicom.Dataset], named: Mapping[SeriesRole, str]
) -> Iterator[StudyInput | StudyFailure]:
    with needs_extra("clinical", "reading DICOM"):
        from tumorctl.io.dicom.reading import read_dicom
    yield from read_dicom(source, named=named)
