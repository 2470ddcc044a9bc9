"""Folders of slices, and whole studies, through a client to a folder of results.

With slices, decoding, inference and writing overlap; studies follow one after the other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tumorctl import __version__
from tumorctl.client import TumorClient
from tumorctl.contract import NOTICE
from tumorctl.core.components import MAIN_SHARE
from tumorctl.core.parallel import map_ahead
from tumorctl.errors import TumorctlError
from tumorctl.io.discovery import SliceFile, UnreadableFolder, discover
from tumorctl.io.slices import read_slice
from tumorctl.io.sources import find_sources, format_of
from tumorctl.outputs.images import encode_mask, encode_overlay
from tumorctl.outputs.results import ResultFolder, SliceRow, StudyRow
from tumorctl.study_batch import check, predict_sources
from tumorctl.types import SeriesRole, SlicePrediction
from tumorctl.volumes import without_islands

# One thread each keeps up with the networks on any disk, and takes less of the processor from them than two.
_READERS = 1
_WRITERS = 1
_READ_AHEAD = 8
_WRITE_AHEAD = 32


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What to write.

    Attributes:
        output: folder for the results.
        overlays: whether to draw overlays.
        main_share: islands of tumour smaller than this part of their scan's largest one are dropped; 0 keeps all.
        named: which files or series of a whole study play a role, where the caller named them.
        dicom: whether to write DICOM objects for studies that were read from DICOM.
    """

    output: Path
    overlays: bool = True
    main_share: float = MAIN_SHARE
    named: Mapping[SeriesRole, str] = field(default_factory=dict)
    dicom: bool = True


@dataclass(slots=True)
class Counts:
    """How many of each a run met.

    Attributes:
        studies: studies seen.
        slices: slices found.
        tumor_slices: slices that show a tumour.
        segmented: slices that passed the gate.
        failed: slices, folders and studies with an error.
    """

    studies: int = 0
    slices: int = 0
    tumor_slices: int = 0
    segmented: int = 0
    failed: int = 0

    def add(self, row: SliceRow) -> None:
        """Take a slice in."""
        self.slices += row.number is not None
        self.tumor_slices += bool(row.tumor)
        self.segmented += bool(row.segmented)
        self.failed += bool(row.error)


def predict_folders(
    client: TumorClient,
    paths: Iterable[Path],
    options: BatchOptions,
    *,
    on_slice: Callable[[SliceRow], None] = lambda row: None,
    on_study: Callable[[StudyRow], None] = lambda row: None,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Predict all slices and studies under files and folders and write the results folder of the contract.

    What is wrong with one slice or study becomes its row's error. Where the run ends early, interrupted or because
    inference failed, the rows so far are kept and ``run.json`` says so.

    Args:
        client: what predicts.
        paths: files and folders; each folder with slices is a study, and NIfTI, DICOM and zip files hold studies.
        options: what to write.
        on_slice: called with each row, in order.
        on_study: called with each finished study.
        stop: once set, no more slices or studies are begun; slices at work are finished, and a whole study of which
            some slices are left leaves nothing behind.

    Returns:
        The content of ``run.json``; its ``status`` is ``complete`` or ``interrupted``.

    Raises:
        InvalidInput: a path does not exist, or series are named for more than one study.
        MissingExtra: there are NIfTI or DICOM files, and the clinical part is not installed.
        OutputError: a table could not be written.
        EngineError: inference failed.
    """
    paths = list(paths)
    # Studies are looked for before anything is predicted, so that what keeps them all from being read is told early.
    # Slices are looked for as they are predicted: a list of very many would fill the memory.
    sources = list(find_sources(paths, skip=options.output))
    check(sources, options.named)
    slices = [path for path in paths if path.is_dir() or format_of(path) is None]
    results = ResultFolder(options.output)
    counts = Counts()
    warnings: dict[str, list[str]] = {}
    started = datetime.now(timezone.utc), time.monotonic()
    status, failure = "failed", ""
    with results.predictions() as predictions, results.studies() as studies:
        study: StudyRow | None = None

        def close_study() -> None:
            if study is not None:
                studies.add(study.cells())
                counts.studies += 1
                on_study(study)

        try:
            taken: set[str] = set()
            found = _until(stop, discover(slices, skip=options.output))
            with closing(_rows(client, found, results, options)) as rows:
                for row in rows:
                    if study is None or study.study != row.study:
                        close_study()
                        study = StudyRow(row.study)
                        taken.add(row.study)
                    study.add(row)
                    counts.add(row)
                    predictions.add(row.cells())
                    on_slice(row)
            close_study()
            study = None
            whole = predict_sources(
                client,
                sources,
                options.output,
                named=options.named,
                main_share=options.main_share,
                dicom=options.dicom,
                taken=taken,
                stop=stop,
            )
            for rows_of_study, study_row in whole:
                for row in rows_of_study:
                    counts.add(row)
                    predictions.add(row.cells())
                    on_slice(row)
                counts.failed += bool(study_row.problem)
                if study_row.warnings:
                    warnings[study_row.study] = list(study_row.warnings)
                study = study_row
                close_study()
                study = None
            status = "interrupted" if stop is not None and stop.is_set() else "complete"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        except TumorctlError as error:
            failure = str(error)
            raise
        except Exception as error:
            failure = f"something unexpected ({type(error).__name__})"
            raise
        finally:
            close_study()
            predictions.finish()
            studies.finish()
            run = _provenance(client, options, started, counts, status, failure)
            run["warnings"] = warnings
            results.write_run(run)
    return run


def _until(
    stop: threading.Event | None, found: Iterable[SliceFile | UnreadableFolder]
) -> Iterator[SliceFile | UnreadableFolder]:
    for item in found:
        if stop is not None and stop.is_set():
            return
        yield item


def _rows(
    client: TumorClient,
    found: Iterable[SliceFile | UnreadableFolder],
    results: ResultFolder,
    options: BatchOptions,
) -> Generator[SliceRow, None, None]:
    def save(item: tuple[SliceFile | UnreadableFolder, str, SlicePrediction | TumorctlError]) -> SliceRow:
        return _save(*item, results, options)

    def predicted() -> Iterator[tuple[SliceFile | UnreadableFolder, SliceFile | None, SlicePrediction | TumorctlError]]:
        for key, outcome in client.stream(map_ahead(readers, _read, found, ahead=_READ_AHEAD)):
            yield key, key if isinstance(key, SliceFile) else None, outcome

    def named() -> Iterator[tuple[SliceFile | UnreadableFolder, str, SlicePrediction | TumorctlError]]:
        for key, outcome in without_islands(predicted(), options.main_share):
            has_tumor = isinstance(outcome, SlicePrediction) and outcome.has_tumor
            name = results.image_name(key.name) if has_tumor and isinstance(key, SliceFile) else ""
            yield key, name, outcome

    with (
        ThreadPoolExecutor(_READERS, "tumorctl-read") as readers,
        ThreadPoolExecutor(_WRITERS, "tumorctl-write") as writers,
    ):
        yield from map_ahead(writers, save, named(), ahead=_WRITE_AHEAD)


def _read(
    item: SliceFile | UnreadableFolder,
) -> tuple[SliceFile | UnreadableFolder, npt.NDArray[np.uint8] | TumorctlError]:
    if isinstance(item, UnreadableFolder):
        return item, TumorctlError(f"folder cannot be listed ({item.reason})")
    try:
        return item, read_slice(item.path)
    except TumorctlError as error:
        return item, error


def _save(
    file: SliceFile | UnreadableFolder,
    name: str,
    outcome: SlicePrediction | TumorctlError,
    results: ResultFolder,
    options: BatchOptions,
) -> SliceRow:
    """Write a slice's images and make its row."""
    if isinstance(file, UnreadableFolder):
        return SliceRow(file.name, file.name, None, error=str(outcome))
    if isinstance(outcome, TumorctlError):
        return SliceRow(file.name, file.study, file.number, error=str(outcome))
    mask, error = "", ""
    if outcome.mask is not None and name:
        try:
            mask = results.write_mask(name, encode_mask(outcome.mask))
            if options.overlays:
                # Read again: keeping the pixels of a whole scan until its masks are known would cost more memory.
                results.write_overlay(name, encode_overlay(read_slice(file.path), outcome.mask))
        except TumorctlError as problem:
            error = str(problem)
    return SliceRow(
        path=file.name,
        study=file.study,
        number=file.number,
        tumor_probability=outcome.tumor_probability,
        tumor=outcome.has_tumor,
        segmented=outcome.segmented,
        area_px=outcome.area_px,
        mask=mask,
        error=error,
    )


def _provenance(
    client: TumorClient,
    options: BatchOptions,
    started: tuple[datetime, float],
    counts: Counts,
    status: str,
    failure: str,
) -> dict[str, Any]:
    seconds = time.monotonic() - started[1]
    return {
        "tumorctl": __version__,
        "notice": NOTICE,
        "status": status,
        "error": failure,
        "started": started[0].isoformat(timespec="seconds"),
        "engine": asdict(client.info),
        "thresholds": {"gate": client.gate_threshold, "mask": client.info.mask_threshold},
        "main_share": options.main_share,
        "counts": asdict(counts),
        "timings": {
            "seconds": round(seconds, 3),
            "slices_per_second": round(counts.slices / seconds, 2) if seconds else None,
        },
    }
