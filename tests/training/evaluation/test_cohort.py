from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tumor_training.evaluation import figures
from tumor_training.evaluation.cohort import Cohort, Scored, Spacing, score
from tumorctl.errors import InvalidInput
from tumorctl.outputs.results import PREDICTION_COLUMNS, PREDICTIONS_FILE, SliceRow

Mask = npt.NDArray[np.bool_]


def rows(count: int) -> Mask:
    """A mask of full rows, 64 pixels each."""
    mask = np.zeros((64, 64), np.bool_)
    mask[:count] = True
    return mask


def save(path: Path, mask: Mask) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((mask * 255).astype(np.uint8)).save(path)


class Results:
    """A results folder with labelled slices beside it, written by hand."""

    def __init__(self, folder: Path) -> None:
        self.results, self.data = folder / "results", folder / "data"
        self.results.mkdir()
        self._rows = [list(PREDICTION_COLUMNS)]

    def add(self, study: str, number: int, label: Mask, probability: float | None, mask: Mask | None = None) -> None:
        """A slice: without a probability it failed, without a mask the gate kept it."""
        save(self.data / study / f"{study}_{number}_mask.tif", label)
        row = SliceRow(f"{study}_{number}.tif", study, number, error="damaged")
        if probability is not None:
            area = 0 if mask is None else int(mask.sum())
            name = f"masks/{study}_{number}.png" if area else ""
            row = SliceRow(row.path, study, number, probability, area > 0, mask is not None, area, name)
            if mask is not None and area:
                save(self.results / name, mask)
        self._rows.append(list(row.cells()))

    def score(self, spacing: Spacing | None = None) -> Scored:
        with (self.results / PREDICTIONS_FILE).open("w", newline="") as file:
            csv.writer(file).writerows(self._rows)
        return score(self.results, {folder.name: folder for folder in self.data.iterdir()}, spacing)


@pytest.fixture
def made(tmp_path: Path) -> Results:
    return Results(tmp_path)


def test_counts_of_results_with_known_answers(made: Results) -> None:
    shifted = np.roll(rows(2), 1, axis=0)
    made.add("a", 1, rows(2), 0.9, shifted)
    made.add("a", 2, rows(1), 0.2)  # kept back by the gate
    made.add("b", 1, rows(0), 0.6, rows(0))  # passed, and the mask is empty
    made.add("b", 3, rows(0), 0.7, rows(1))  # passed, and the mask is not
    scored = made.score()
    cohort = scored.cohort
    assert cohort.patients == ("a", "b")
    assert cohort.owner.tolist() == [0, 0, 1, 1]
    assert cohort.probability == pytest.approx([0.9, 0.2, 0.6, 0.7])
    assert cohort.passed.tolist() == [True, False, True, True]
    assert not cohort.failed.any()
    assert cohort.label_px.tolist() == [128, 64, 0, 0]
    assert cohort.predicted_px.tolist() == [128, 0, 0, 64]
    assert cohort.overlap_px.tolist() == [64, 0, 0, 0]
    assert cohort.positive.tolist() == [True, True, False, False]
    assert cohort.marked.tolist() == [True, False, False, True]
    assert [files.number for files in scored.files] == [1, 2, 1, 3]
    assert scored.files[0].path == "a_1.tif"
    assert scored.files[0].mask == "masks/a_1.png"
    assert [files.mask for files in scored.files[1:3]] == ["", ""]
    # Bands two rows thick, one row apart; b has no slice in which both masks have pixels.
    assert cohort.distances["hd95_px"].tolist() == pytest.approx([1.0, np.nan], nan_ok=True)
    assert cohort.distance_slices.tolist() == [1, 0]


def test_a_slice_that_failed_counts_as_missed(made: Results) -> None:
    made.add("a", 1, rows(2), 0.9, rows(2))
    made.add("a", 2, rows(2), None)
    made.add("a", 3, rows(0), 0.5)
    cohort = made.score().cohort
    assert cohort.failed.tolist() == [False, True, False]
    got = figures.headline(cohort)
    assert got["gate_sensitivity"] == got["gate_sensitivity_large"] == got["sensitivity"] == pytest.approx(1 / 2)
    assert got["auc"] == pytest.approx(1 / 2)
    assert got["dice_mean"] == pytest.approx(2 / 3)


def test_spacing_gives_distances_in_mm(made: Results) -> None:
    lower = np.roll(rows(2), 4, axis=0)
    made.add("a", 1, rows(2), 0.9, lower)
    made.add("a", 2, lower, 0.9, rows(2))
    plane = made.score(Spacing(0.5, 2.0)).cohort.distances
    assert plane.keys() == {"hd95_px", "hd95_mm"}
    assert plane["hd95_mm"] == pytest.approx(plane["hd95_px"] / 2)
    volume = made.score(Spacing(0.5, 2.0, 0.1)).cohort.distances
    # What lies wrong within its slice lies right in the next.
    assert volume["hd95_volume_mm"] == pytest.approx([0.1])
    assert volume["hd95_mm"] == pytest.approx([2])


def test_a_slice_that_is_absent_leaves_a_gap_in_the_volume(made: Results) -> None:
    made.add("a", 1, rows(2), 0.9, rows(0))
    made.add("a", 4, rows(0), 0.9, rows(2))
    assert made.score(Spacing(1, 1, 5)).cohort.distances["hd95_volume_mm"] == pytest.approx([15])


def test_slices_of_different_sizes_make_no_volume(made: Results) -> None:
    made.add("a", 1, rows(2), 0.9, rows(2))
    made.add("a", 2, np.ones((40, 50), np.bool_), 0.8, np.ones((40, 50), np.bool_))
    assert made.score(Spacing(1, 1)).cohort.distances["hd95_mm"] == pytest.approx([0])
    with pytest.raises(InvalidInput, match="differ in size and make no volume"):
        made.score(Spacing(1, 1, 5))


@pytest.mark.parametrize("values", [(0.0, 1.0, None), (1.0, -1.0, None), (1.0, 1.0, float("nan")), (1.0, 1.0, 0.0)])
def test_a_spacing_that_makes_no_sense_is_refused(values: tuple[float, float, float | None]) -> None:
    with pytest.raises(InvalidInput, match="positive number"):
        Spacing(*values)


def _remove(path: Path) -> None:
    path.unlink()


def _shrink(path: Path) -> None:
    save(path, np.ones((32, 64), np.bool_))


@pytest.mark.parametrize(("damage", "reason"), [(_remove, "cannot be opened"), (_shrink, "differ in size")])
def test_a_missing_label_or_one_of_another_size_is_refused(
    made: Results, damage: Callable[[Path], None], reason: str
) -> None:
    made.add("a", 1, rows(2), 0.9, rows(2))
    made.add("a", 2, rows(0), 0.1)
    damage(made.data / "a" / "a_1_mask.tif")
    with pytest.raises(InvalidInput, match=reason):
        made.score()


def test_slices_of_different_sizes_are_scored_together(made: Results) -> None:
    made.add("a", 1, rows(2), 0.9, rows(2))
    made.add("a", 2, rows(0), 0.1)
    made.add("b", 1, np.ones((40, 50), np.bool_), 0.8, np.ones((40, 50), np.bool_))
    assert figures.patient_values(made.score().cohort)["dice"].tolist() == [1, 1]


def test_results_of_other_patients_are_refused(made: Results, tmp_path: Path) -> None:
    made.add("a", 1, rows(2), 0.9, rows(2))
    made.score()
    with pytest.raises(InvalidInput, match="the results hold a, which is not"):
        score(made.results, {"b": made.data / "b"})
    with pytest.raises(InvalidInput, match="no slices of b"):
        score(made.results, {"a": made.data / "a", "b": made.data / "b"})


def test_progress_is_told_of_every_slice(made: Results) -> None:
    for number in range(3):
        made.add("a", number, rows(0), 0.1)
    made.score()
    told: list[None] = []
    score(made.results, {"a": made.data / "a"}, on_slice=lambda: told.append(None))
    assert len(told) == 3


def test_an_empty_cohort_can_be_taken(random_cohort: Cohort) -> None:
    assert len(random_cohort.take(np.zeros(0, np.int64))) == 0
