"""Whole studies through a client to a folder of results: one study after the other, the broken ones as rows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tumorctl.client import TumorClient
from tumorctl.errors import (
    EngineError,
    InvalidOption,
    MissingExtra,
    ModelError,
    TumorctlError,
    UnreadableStudy,
)
from tumorctl.extras import needs_extra
from tumorctl.io.discovery import UniqueNames
from tumorctl.io.series import StudyFailure, StudyInput
from tumorctl.io.sources import Source, read_source
from tumorctl.outputs.measured import measurement_cells
from tumorctl.outputs.results import SliceRow, StudyRow
from tumorctl.outputs.studies import MASK_FILE, study_folder, write_study
from tumorctl.studies import StudyInterrupted, predict_input
from tumorctl.study import StudyPrediction
from tumorctl.types import SeriesRole

logger = logging.getLogger(__name__)


def predict_sources(
    client: TumorClient,
    sources: Iterable[Source],
    folder: Path,
    *,
    named: Mapping[SeriesRole, str],
    main_share: float,
    dicom: bool,
    taken: set[str],
    stop: threading.Event | None = None,
) -> Iterator[tuple[list[SliceRow], StudyRow]]:
    """Predict studies and write the folder of each.

    Args:
        client: what predicts.
        sources: where they are.
        folder: of the run's results.
        named: files or series that the caller named, for one study.
        main_share: see `main_components`.
        dicom: whether to write DICOM objects.
        taken: names of studies that are in the tables already.
        stop: once set, no further study is begun, and one that the networks have not seen whole is left out.

    Yields:
        For each study the rows of its slices and its own; for one that cannot be used a row with its error.

    Raises:
        MissingExtra: the clinical part is not installed.
        EngineError: inference failed.
    """
    names = UniqueNames(taken)
    for source in sources:
        if stop is not None and stop.is_set():
            return
        for study in _read(source, named):
            name = names.take(study.study)
            if isinstance(study, StudyFailure):
                yield _failed(name, study.error)
                continue
            try:
                renamed = StudyInput(name, study.chosen, study.warnings)
                prediction = predict_input(client, renamed, main_share, stop)
                yield _written(prediction, folder, dicom)
            except StudyInterrupted:
                return
            except (EngineError, ModelError, MissingExtra):
                raise
            except TumorctlError as error:
                yield _failed(name, error)
            except Exception as error:
                yield _failed(name, _unexpected(error))


def _read(source: Source, named: Mapping[SeriesRole, str]) -> Iterator[StudyInput | StudyFailure]:
    """The studies of a source; what nobody thought of ends this source and no other."""
    try:
        yield from read_source(source, named)
    except TumorctlError:
        raise
    except Exception as error:
        yield StudyFailure(source.name, _unexpected(error))


def _unexpected(error: Exception) -> TumorctlError:
    # Its own message may hold patient data; so may its traceback, which is for whoever asks for it.
    logger.debug("traceback", exc_info=True)
    return UnreadableStudy(f"something unexpected in it ({type(error).__name__}); --verbose shows where")


def check(sources: list[Source], named: Mapping[SeriesRole, str]) -> None:
    """Tell early what would keep all studies from being read.

    Raises:
        MissingExtra: there are studies, and the clinical part is not installed.
        InvalidOption: files are named for one study, and there is none or more than one.
    """
    if sources:
        with needs_extra("clinical", "reading NIfTI and DICOM"):
            import nibabel  # noqa: F401
            import pydicom  # noqa: F401
            import SimpleITK  # noqa: F401
    studies = [source for source in sources if source.error is None]
    if named and len(studies) != 1:
        raise InvalidOption(
            f"--flair, --t1-pre and --t1-post name the series of one study; {len(studies)} were found under PATH"
        )


def _written(prediction: StudyPrediction, folder: Path, dicom: bool) -> tuple[list[SliceRow], StudyRow]:
    written = write_study(folder, prediction, dicom=dicom)
    rows = list(_slices(prediction))
    row = StudyRow(prediction.study, warnings=prediction.warnings)
    for each in rows:
        row.add(each)
    # Slices of another plane than the networks' have no probability of their own; the study has.
    row.answered, row.tumor_probability = len(rows), prediction.tumor_probability
    row.measured = measurement_cells(prediction.measurements, prediction.frame)
    row.problem = "; ".join(written.problems)
    return rows, row


def _slices(prediction: StudyPrediction) -> Iterator[SliceRow]:
    mask_file = str(study_folder(prediction.study) / MASK_FILE)
    for number, plane in enumerate(prediction.mask, 1):
        area_px = int(plane.sum())
        yield SliceRow(
            path=f"{prediction.study}/slice-{number}",
            study=prediction.study,
            number=number,
            tumor_probability=prediction.slice_probabilities[number - 1],
            tumor=area_px > 0,
            segmented=prediction.slice_segmented[number - 1],
            area_px=area_px,
            mask=mask_file if area_px else "",
        )


def _failed(name: str, error: TumorctlError) -> tuple[list[SliceRow], StudyRow]:
    row, study = SliceRow(name, name, None, error=str(error)), StudyRow(name)
    study.add(row)
    return [row], study
