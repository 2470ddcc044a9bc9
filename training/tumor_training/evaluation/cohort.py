"""Results of `tumorctl predict` held against the labels: counts by slice, distances by patient."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tumor_training.evaluation.surface import hd95, pooled_hd95, surface_distances
from tumorctl.errors import InvalidInput
from tumorctl.io.discovery import mask_path
from tumorctl.io.slices import read_mask
from tumorctl.outputs.files import unshielded
from tumorctl.outputs.results import PREDICTIONS_FILE

Mask = npt.NDArray[np.bool_]
PIXELS = (1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Spacing:
    """Size of a voxel in mm, the same for all patients.

    Attributes:
        row: distance between neighbouring rows, > 0.
        column: distance between neighbouring columns, > 0.
        slice: distance between neighbouring slices, > 0; None where it is not known.
    """

    row: float
    column: float
    slice: float | None = None

    def __post_init__(self) -> None:
        if not all(
            0 < value < float("inf") for value in (self.row, self.column, 1.0 if self.slice is None else self.slice)
        ):
            raise InvalidInput("a spacing must be a positive number of millimetres")


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """What was predicted for slices of patients, and what the labels say, as counts.

    Attributes:
        patients: their names, in order; resampled cohorts repeat some.
        owner: int64, shape (slice,): index into `patients`.
        probability: float32, shape (slice,), in [0, 1]; 0 where the slice failed.
        passed: bool, shape (slice,): passed the gate.
        failed: bool, shape (slice,): could not be predicted, or its result could not be written.
        label_px: int64, shape (slice,): labelled pixels.
        predicted_px: int64, shape (slice,): predicted pixels; 0 where the gate stayed shut or the slice failed.
        overlap_px: int64, shape (slice,): pixels in both.
        distances: float64, shape (patient,), by name of the distance: ``hd95_px`` and, where spacing is known,
            ``hd95_mm`` and ``hd95_volume_mm``; NaN where not defined.
        distance_slices: int64, shape (patient,): slices in which both masks have pixels.
    """

    patients: tuple[str, ...]
    owner: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float32]
    passed: Mask
    failed: Mask
    label_px: npt.NDArray[np.int64]
    predicted_px: npt.NDArray[np.int64]
    overlap_px: npt.NDArray[np.int64]
    distances: Mapping[str, npt.NDArray[np.float64]]
    distance_slices: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.owner)

    @property
    def positive(self) -> Mask:
        """Slices with tumour in the label, shape (slice,)."""
        return self.label_px > 0

    @property
    def marked(self) -> Mask:
        """Slices with tumour in the prediction, shape (slice,)."""
        return self.predicted_px > 0

    def per_patient(self, counts: npt.NDArray[np.int64] | Mask) -> npt.NDArray[np.float64]:
        """Sums over each patient's slices, shape (patient,)."""
        return np.bincount(self.owner, counts, len(self.patients)).astype(np.float64)

    def take(self, patients: npt.NDArray[np.int64]) -> Cohort:
        """A cohort of some of the patients with all their slices; an index given twice comes twice.

        Args:
            patients: indices into `patients`.
        """
        return self.taker()(patients)

    def taker(self) -> Callable[[npt.NDArray[np.int64]], Cohort]:
        """`take`, made ready for many calls."""
        slices_of = [np.flatnonzero(self.owner == index) for index in range(len(self.patients))]

        def take(patients: npt.NDArray[np.int64]) -> Cohort:
            parts = [slices_of[index] for index in patients]
            slices = np.concatenate(parts) if parts else np.zeros(0, np.intp)
            return replace(
                self,
                patients=tuple(self.patients[index] for index in patients),
                owner=np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
                probability=self.probability[slices],
                passed=self.passed[slices],
                failed=self.failed[slices],
                label_px=self.label_px[slices],
                predicted_px=self.predicted_px[slices],
                overlap_px=self.overlap_px[slices],
                distances={name: values[patients] for name, values in self.distances.items()},
                distance_slices=self.distance_slices[patients],
            )

        return take


@dataclass(frozen=True, slots=True)
class SliceFiles:
    """Where a slice of a cohort lies.

    Attributes:
        path: of the slice, relative to its patient's folder, with ``/``.
        number: in its study.
        mask: file of the prediction, relative to the results; empty if none.
    """

    path: str
    number: int
    mask: str


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A cohort with the files of its slices, in the same order."""

    cohort: Cohort
    files: tuple[SliceFiles, ...]


def score(
    results: Path,
    folders: Mapping[str, Path],
    spacing: Spacing | None = None,
    on_slice: Callable[[], None] = lambda: None,
) -> Scored:
    """Hold a results folder against the labels beside the slices. A slice that failed counts as missed.

    Args:
        results: what `predict_folders` wrote.
        folders: each patient's folder of slices and labels, by the study's name in the results.
        spacing: for distances in mm.
        on_slice: called after each slice.

    Raises:
        InvalidInput: a label is missing or of another size, or the results are of other patients.
    """
    patients: list[_Patient] = []
    for study, rows in groupby(_rows(results), key=lambda row: row["study"]):
        if study not in folders:
            raise InvalidInput(f"the results hold {study}, which is not among the patients to judge")
        patients.append(_Patient(study, results, folders[study], rows, spacing, on_slice))
    if absent := sorted(set(folders) - {patient.name for patient in patients}):
        raise InvalidInput(f"the results hold no slices of {', '.join(absent)}")
    counts = [patient.counts for patient in patients]
    cohort = Cohort(
        patients=tuple(patient.name for patient in patients),
        owner=np.repeat(np.arange(len(patients)), [len(patient.files) for patient in patients]),
        probability=np.array([value for patient in patients for value in patient.probability], np.float32),
        passed=np.array([value for patient in patients for value in patient.passed], np.bool_),
        failed=np.array([value for patient in patients for value in patient.failed], np.bool_),
        label_px=np.array([one[0] for each in counts for one in each], np.int64),
        predicted_px=np.array([one[1] for each in counts for one in each], np.int64),
        overlap_px=np.array([one[2] for each in counts for one in each], np.int64),
        distances={
            name: np.array([np.nan if p.distances[name] is None else p.distances[name] for p in patients], np.float64)
            for name in distance_names(spacing)
        },
        distance_slices=np.array([patient.distance_slices for patient in patients], np.int64),
    )
    return Scored(cohort, tuple(files for patient in patients for files in patient.files))


def distance_names(spacing: Spacing | None) -> tuple[str, ...]:
    """Distances that can be measured with what is known of the voxels."""
    if spacing is None:
        return ("hd95_px",)
    return ("hd95_px", "hd95_mm") if spacing.slice is None else ("hd95_px", "hd95_mm", "hd95_volume_mm")


def _rows(results: Path) -> Iterator[dict[str, str]]:
    with (results / PREDICTIONS_FILE).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row | {name: unshielded(row[name]) for name in ("path", "study")}


class _Patient:
    """Counts and distances of one patient; its masks are let go of."""

    def __init__(
        self,
        name: str,
        results: Path,
        folder: Path,
        rows: Iterable[dict[str, str]],
        spacing: Spacing | None,
        on_slice: Callable[[], None],
    ) -> None:
        self.name = name
        self.probability: list[float] = []
        self.passed: list[bool] = []
        self.failed: list[bool] = []
        self.counts: list[tuple[int, int, int]] = []
        self.files: list[SliceFiles] = []
        pairs: list[tuple[Mask, Mask]] = []
        for row in rows:
            if not row["slice"]:
                raise InvalidInput(f"{name}: {row['error']}")
            labelled = read_mask(mask_path(folder / row["path"]))
            predicted = read_mask(results / row["mask"]) if row["mask"] else np.zeros_like(labelled)
            if predicted.shape != labelled.shape:
                raise InvalidInput(f"{name}/{row['path']}: label and slice differ in size")
            self.probability.append(float(row["tumor_probability"] or 0))
            self.passed.append(row["segmented"] == "true")
            self.failed.append(bool(row["error"]))
            self.counts.append((int(labelled.sum()), int(predicted.sum()), int((labelled & predicted).sum())))
            self.files.append(SliceFiles(row["path"], int(row["slice"]), row["mask"]))
            pairs.append((predicted, labelled))
            on_slice()
        self.distances = self._distances(pairs, spacing)
        self.distance_slices = sum(bool(predicted.any() and labelled.any()) for predicted, labelled in pairs)

    def _distances(self, pairs: Sequence[tuple[Mask, Mask]], spacing: Spacing | None) -> dict[str, float | None]:
        distances = {"hd95_px": pooled_hd95(surface_distances(*pair, PIXELS) for pair in pairs)}
        if spacing is None:
            return distances
        plane = (spacing.row, spacing.column)
        distances["hd95_mm"] = pooled_hd95(surface_distances(*pair, plane) for pair in pairs)
        if spacing.slice is not None:
            predicted, labelled = self._volumes(pairs)
            distances["hd95_volume_mm"] = hd95(predicted, labelled, (spacing.slice, *plane))
        return distances

    def _volumes(self, pairs: Sequence[tuple[Mask, Mask]]) -> tuple[Mask, Mask]:
        """Both masks as volumes; a slice's number is its place, so one that is absent leaves a gap."""
        if len({labelled.shape for _, labelled in pairs}) > 1:
            raise InvalidInput(f"{self.name}: slices differ in size and make no volume; leave the slice spacing out")
        places = np.array([files.number for files in self.files])
        places -= places.min()
        predicted, labelled = np.zeros((2, int(places.max()) + 1, *pairs[0][0].shape), np.bool_)
        for place, (a, b) in zip(places, pairs, strict=True):
            predicted[place], labelled[place] = a, b
        return predicted, labelled
