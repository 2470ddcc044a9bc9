from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tumor_training.evaluate import Evaluation, evaluate, score
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

    def score(self) -> Evaluation:
        with (self.results / PREDICTIONS_FILE).open("w", newline="") as file:
            csv.writer(file).writerows(self._rows)
        return score(self.results, {folder.name: folder for folder in self.data.iterdir()})


@pytest.fixture
def made(tmp_path: Path) -> Results:
    return Results(tmp_path)


def test_figures_of_results_with_known_answers(made: Results) -> None:
    small = np.zeros((64, 64), np.bool_)
    small[0, :10] = True
    made.add("a", 1, rows(2), 0.9, rows(2))  # found
    made.add("a", 2, rows(1), 0.2)  # large enough, kept back by the gate
    made.add("a", 3, small, 0.4)  # small, kept back
    made.add("b", 1, rows(0), 0.1)  # rightly kept back
    made.add("b", 2, rows(0), 0.6, rows(0))  # passed, and the mask is empty
    made.add("b", 3, rows(0), 0.7, rows(1))  # passed, and the mask is not
    made.add("b", 4, rows(0), 0.3)
    got = made.score()
    assert (got.slices, got.positive) == (7, 3)
    # Of 12 pairs, (0.9, *) wins 4, (0.4, *) wins 2, (0.2, *) wins 1.
    assert got.auc == pytest.approx(7 / 12)
    assert got.gate_sensitivity == pytest.approx(1 / 3)
    assert got.gate_sensitivity_large == pytest.approx(1 / 2)
    assert got.gate_specificity == pytest.approx(2 / 4)
    assert got.false_positive_slices == pytest.approx(1 / 4)
    assert got.dice == {"a": pytest.approx(2 * 128 / (128 + 128 + 64 + 10)), "b": 0.0}


def test_a_slice_that_failed_counts_as_missed(made: Results) -> None:
    made.add("a", 1, rows(2), 0.9, rows(2))
    made.add("a", 2, rows(2), None)
    made.add("a", 3, rows(0), 0.5)
    got = made.score()
    assert got.slices == 3
    assert got.gate_sensitivity == got.gate_sensitivity_large == pytest.approx(1 / 2)
    assert got.auc == pytest.approx(1 / 2)
    assert got.dice == {"a": pytest.approx(2 / 3)}


def test_the_summary_is_over_patients() -> None:
    figures = Evaluation(9, 5, 0.9, 0.8, 1.0, 0.7, 0.1, {"a": 0.9, "b": 0.2, "c": 0.7}).to_dict()
    assert figures["patients"] == 3
    assert figures["dice_mean"] == pytest.approx(0.6)
    assert figures["dice_median"] == pytest.approx(0.7)
    assert figures["dice_worst"] == pytest.approx(0.2)
    assert figures["dice"] == {"a": 0.9, "b": 0.2, "c": 0.7}


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
    assert made.score().dice == {"a": 1.0, "b": 1.0}


def test_a_patient_without_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no folder of nobody"):
        evaluate(None, tmp_path, ["nobody"], tmp_path / "out")  # type: ignore[arg-type]


def test_the_real_path_is_scored_end_to_end(made_patients: Path, made_repository: Path, tmp_path: Path) -> None:
    from tumorctl import TumorClient
    from tumorctl.types import ClientOptions

    patient = "TCGA_DU_0001_19960101"
    shutil.copytree(made_patients / patient, tmp_path / "data" / patient)
    with TumorClient(options=ClientOptions(model_repository=str(made_repository), gate_threshold=0.0)) as client:
        got = evaluate(client, tmp_path / "data", [patient], tmp_path / "out")
    assert (got.slices, got.positive) == (4, 2)
    assert (got.gate_sensitivity, got.gate_specificity) == (1.0, 0.0)
    assert got.dice.keys() == {patient}
