"""The folder that `tumorctl predict` writes."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tumorctl.errors import OutputError
from tumorctl.outputs.files import Table, shielded, unshielded, write_whole
from tumorctl.outputs.measured import MEASUREMENT_COLUMNS, UNMEASURED
from tumorctl.outputs.studies import forget_study

PREDICTIONS_FILE = "predictions.csv"
STUDIES_FILE = "studies.csv"
RUN_FILE = "run.json"
MASKS = "masks"
OVERLAYS = "overlays"

PREDICTION_COLUMNS = (
    "path",
    "study",
    "slice",
    "tumor_probability",
    "tumor",
    "segmented",
    "area_px",
    "mask",
    "error",
)
STUDY_COLUMNS = (
    "study",
    "slices",
    "tumor_slices",
    "tumor_probability",
    "tumor",
    "largest_area_px",
    "error",
    *MEASUREMENT_COLUMNS,
)


@dataclass(frozen=True, slots=True)
class SliceRow:
    """One slice's row; without an answer, only names and the error are set.

    Attributes:
        path: relative to the PATH the slice was found under, with ``/``.
        study: its study.
        number: its number in the study; None for a folder that could not be read.
        tumor_probability: in [0, 1].
        tumor: passed the gate, and the mask is not empty.
        segmented: passed the gate.
        area_px: pixels of tumour.
        mask: mask file relative to the results, empty if none.
        error: what went wrong, empty if nothing.
    """

    path: str
    study: str
    number: int | None
    tumor_probability: float | None = None
    tumor: bool | None = None
    segmented: bool | None = None
    area_px: int | None = None
    mask: str = ""
    error: str = ""

    def cells(self) -> tuple[str, ...]:
        """As written; what is unknown is empty, never false."""
        return (
            shielded(self.path),
            shielded(self.study),
            _text(self.number),
            _text(self.tumor_probability),
            _text(self.tumor),
            _text(self.segmented),
            _text(self.area_px),
            self.mask,
            shielded(self.error),
        )


@dataclass(slots=True)
class StudyRow:
    """One study's row, made up from its slices' rows as they come.

    ``measured`` holds the cells of the measurements, which need millimetres: empty for folders of slices. ``problem``
    is what is wrong with the study's results as a whole, ``warnings`` what a reader of them should know.
    """

    study: str
    slices: int = 0
    answered: int = 0
    failed: int = 0
    tumor_slices: int = 0
    tumor_probability: float | None = None
    largest_area_px: int = 0
    errors: list[str] = field(default_factory=list)
    measured: tuple[str, ...] = UNMEASURED
    problem: str = ""
    warnings: tuple[str, ...] = ()

    def add(self, row: SliceRow) -> None:
        """Take a slice in."""
        self.slices += row.number is not None
        if row.error:
            self.failed += 1
            if len(self.errors) < 1:
                self.errors.append(row.error)
        self.tumor_slices += bool(row.tumor)
        if row.tumor_probability is None:
            return
        self.answered += 1
        self.tumor_probability = max(self.tumor_probability or 0.0, row.tumor_probability)
        self.largest_area_px = max(self.largest_area_px, row.area_px or 0)

    @property
    def tumor(self) -> bool | None:
        """Whether any slice shows a tumour; None where no slice was answered."""
        return self.tumor_slices > 0 if self.answered else None

    @property
    def error(self) -> str:
        """How many slices failed, and the first reason."""
        if not self.failed:
            return self.problem
        if not self.slices:
            return self.errors[0]
        return f"{self.failed} of {self.slices} slices failed: {self.errors[0]}"

    def cells(self) -> tuple[str, ...]:
        """As written; what is unknown is empty, never false."""
        return (
            shielded(self.study),
            str(self.slices),
            str(self.tumor_slices),
            _text(self.tumor_probability),
            _text(self.tumor),
            _text(self.largest_area_px if self.answered else None),
            shielded(self.error),
            *self.measured,
        )


class ResultFolder:
    """Tables, masks and overlays of one run. Whatever an earlier run left in the folder is removed first.

    Args:
        folder: made where missing.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taken: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            forget_earlier_run(folder)
        except OSError as error:
            raise OutputError(f"{folder} cannot be written ({error.strerror})") from error

    def predictions(self) -> Table:
        """The table of slices."""
        return Table(self.folder / PREDICTIONS_FILE, PREDICTION_COLUMNS)

    def studies(self) -> Table:
        """The table of studies."""
        return Table(self.folder / STUDIES_FILE, STUDY_COLUMNS)

    def image_name(self, slice_name: str) -> str:
        """Name for the mask and overlay of a slice: its path with ``.png``, and a number where that is taken."""
        stem = str(PurePosixPath(slice_name).with_suffix(""))
        name, count = stem, 1
        while name in self._taken:
            count += 1
            name = f"{stem}-{count}"
        self._taken.add(name)
        return f"{name}.png"

    def write_mask(self, name: str, content: bytes) -> str:
        """Write a mask; returns its path relative to the folder. Raises OutputError."""
        write_whole(self.folder / MASKS / name, content)
        return f"{MASKS}/{name}"

    def write_overlay(self, name: str, content: bytes) -> None:
        """Write an overlay. Raises OutputError."""
        write_whole(self.folder / OVERLAYS / name, content)

    def write_run(self, content: Mapping[str, object]) -> None:
        """Write ``run.json``. Raises OutputError."""
        write_whole(self.folder / RUN_FILE, (json.dumps(content, indent=2) + "\n").encode())


def forget_earlier_run(folder: Path) -> None:
    """Remove what an earlier run wrote, and nothing else, so that no stale mask passes for a new one.

    Raises:
        OSError: something cannot be removed.
        OutputError: a file of the same name is not tumorctl's; nothing was removed.
    """
    _check_run_file(folder / RUN_FILE)
    masks = _masks_of_earlier_run(folder)
    studies = _column(folder / STUDIES_FILE, "study", STUDY_COLUMNS[: -len(MEASUREMENT_COLUMNS)])
    for mask in masks:
        for kind in (MASKS, OVERLAYS):
            path = folder / kind / PurePosixPath(mask).relative_to(MASKS)
            path.unlink(missing_ok=True)
            for parent in path.relative_to(folder).parents:
                with contextlib.suppress(OSError):
                    (folder / parent).rmdir() if parent.parts else None
    for study in studies:
        forget_study(folder, study)
    for name in (PREDICTIONS_FILE, STUDIES_FILE, RUN_FILE):
        (folder / name).unlink(missing_ok=True)


def _masks_of_earlier_run(folder: Path) -> list[str]:
    names = _column(folder / PREDICTIONS_FILE, "mask", PREDICTION_COLUMNS)
    return [name for name in names if name.startswith(f"{MASKS}/") and ".." not in PurePosixPath(name).parts]


def _column(table: Path, name: str, columns: tuple[str, ...]) -> list[str]:
    """What a table of an earlier run has in a column, where that is not empty; nothing where there is no table.

    Raises:
        OutputError: a table of this name is there, and is not tumorctl's.
    """
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if tuple(rows.fieldnames or ())[: len(columns)] != columns:
                raise _not_ours(table)
            cells = [unshielded(row[name] or "") for row in rows]
    except FileNotFoundError:
        return []
    except (UnicodeDecodeError, csv.Error) as error:
        raise _not_ours(table) from error
    return [cell for cell in cells if cell and "\0" not in cell]


def _check_run_file(path: Path) -> None:
    try:
        if "tumorctl" not in json.loads(path.read_bytes()):
            raise _not_ours(path)
    except FileNotFoundError:
        return
    except (ValueError, TypeError) as error:
        raise _not_ours(path) from error


def _not_ours(path: Path) -> OutputError:
    return OutputError(f"{path} is not tumorctl's and would be overwritten: choose another folder")


def _text(value: bool | int | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6f}" if isinstance(value, float) else str(value)
