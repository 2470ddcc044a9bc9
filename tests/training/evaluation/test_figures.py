from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tumor_training.evaluation import figures
from tumor_training.evaluation.cohort import Cohort
from tumor_training.evaluation.definitions import FIGURES, Unit, as_text, interval_as_text

Make = Callable[..., Cohort]
DOCS = Path(__file__).parents[3] / "docs" / "evaluation.md"


def test_figures_with_known_answers(make_cohort: Make) -> None:
    cohort = make_cohort(
        {
            "a": [
                (0.9, True, 128, 128, 128),  # found
                (0.2, False, 64, 0, 0),  # large enough, kept back by the gate
                (0.4, False, 10, 0, 0),  # small, kept back
            ],
            "b": [
                (0.1, False, 0, 0, 0),  # rightly kept back
                (0.6, True, 0, 0, 0),  # passed, and the mask is empty
                (0.7, True, 0, 64, 0),  # passed, and the mask is not
                (0.3, False, 0, 0, 0),
            ],
        },
        [3.0, np.nan],
    )
    got = figures.headline(cohort)
    # Of 12 pairs, (0.9, *) wins 4, (0.4, *) wins 2, (0.2, *) wins 1.
    assert got["auc"] == pytest.approx(7 / 12)
    # Precision where each slice with tumour is met: 1 of 1, 2 of 4, 3 of 6.
    assert got["average_precision"] == pytest.approx((1 + 2 / 4 + 3 / 6) / 3)
    assert got["sensitivity"] == got["gate_sensitivity"] == pytest.approx(1 / 3)
    assert got["gate_sensitivity_large"] == pytest.approx(1 / 2)
    assert got["gate_specificity"] == pytest.approx(2 / 4)
    assert (got["specificity"], got["false_positive_slices"]) == (3 / 4, 1 / 4)
    assert got["false_positive_area_px"] == 16
    dice = 2 * 128 / (128 + 128 + 64 + 10)
    assert got["dice_mean"] == got["dice_median"] == pytest.approx(dice / 2)
    assert got["dice_worst"] == 0
    assert got["iou_mean"] == pytest.approx(128 / 202 / 2)
    # Of b, whose label is empty, neither is defined; its precision is.
    assert got["voxel_sensitivity_mean"] == pytest.approx(128 / 202)
    assert got["voxel_precision_mean"] == pytest.approx((1 + 0) / 2)
    assert got["volume_error_mean"] == pytest.approx(128 / 202 - 1)
    assert got["absolute_volume_error_median"] == pytest.approx(1 - 128 / 202)
    assert got["hd95_px_median"] == 3


def test_every_figure_is_defined_and_every_definition_documented(random_cohort: Cohort) -> None:
    measured = set(figures.headline(random_cohort))
    named = {figure.name for figure in FIGURES}
    assert measured <= named
    assert named - measured == {"hd95_mm_median", "hd95_volume_mm_median"}
    text = DOCS.read_text("utf-8")
    assert [name for name in named if f"`{name}`" not in text] == []


def test_what_is_not_defined_is_none_and_never_nan(make_cohort: Make) -> None:
    none_positive = figures.headline(make_cohort({"a": [(0.1, False, 0, 0, 0)]}))
    undefined = {name for name, value in none_positive.items() if value is None}
    assert undefined == {
        "auc",
        "average_precision",
        "sensitivity",
        "gate_sensitivity",
        "gate_sensitivity_large",
        "voxel_sensitivity_mean",
        "voxel_precision_mean",
        "volume_error_mean",
        "absolute_volume_error_median",
        "hd95_px_median",
    }
    assert none_positive["dice_mean"] == none_positive["iou_mean"] == 1
    none_negative = figures.headline(make_cohort({"a": [(0.9, True, 60, 60, 60)]}))
    assert {name for name, value in none_negative.items() if value is None} == {
        "auc",
        "average_precision",
        "specificity",
        "gate_specificity",
        "false_positive_slices",
        "false_positive_area_px",
        "hd95_px_median",
    }
    assert set(figures.headline(make_cohort({})).values()) == {None}


def test_the_table_of_patients_holds_counts_and_measures(make_cohort: Make) -> None:
    cohort = make_cohort(
        {
            "TCGA_HT_1_1": [(0.9, True, 30_000, 15_000, 15_000), (0.2, True, 0, 7, 0)],
            "mine": [(0.1, False, 0, 0, 0)],
        },
        [2.5, np.nan],
    )
    assert figures.patient_table(cohort) == {
        "TCGA_HT_1_1": {
            "site": "HT",
            "size": "large",
            "slices": 2,
            "positive_slices": 1,
            "failed_slices": 0,
            "false_positive_slices": 1,
            "false_positive_area_px": 7,
            "labelled_px": 30_000,
            "predicted_px": 15_007,
            "hd95_slices": 0,
            "dice": pytest.approx(30_000 / 45_007),
            "iou": pytest.approx(15_000 / 30_007),
            "sensitivity": 0.5,
            "precision": pytest.approx(15_000 / 15_007),
            "volume_error": pytest.approx(15_007 / 30_000 - 1),
            "hd95_px": 2.5,
        },
        "mine": {
            "site": "",
            "size": "small",
            "slices": 1,
            "positive_slices": 0,
            "failed_slices": 0,
            "false_positive_slices": 0,
            "false_positive_area_px": 0,
            "labelled_px": 0,
            "predicted_px": 0,
            "hd95_slices": 0,
            "dice": 1.0,
            "iou": 1.0,
            "sensitivity": None,
            "precision": None,
            "volume_error": None,
            "hd95_px": None,
        },
    }


@pytest.mark.parametrize(
    ("volume", "size"), [(0, "small"), (9_999, "small"), (10_000, "medium"), (24_999, "medium"), (25_000, "large")]
)
def test_sizes_begin_at_their_limits(make_cohort: Make, volume: int, size: str) -> None:
    assert figures.size_classes(make_cohort({"a": [(0.5, True, volume, 0, 0)]})) == [size]


def test_slices_are_classed_by_area(random_cohort: Cohort) -> None:
    classes = figures.slice_areas(random_cohort)
    assert [one["from_px"] for one in classes] == [1, 50, 250, 1000, 2500]
    assert [one["below_px"] for one in classes] == [50, 250, 1000, 2500, None]
    assert sum(one["slices"] for one in classes) == random_cohort.positive.sum()
    inside = random_cohort.label_px >= 2500
    assert classes[-1]["gate_sensitivity"] == pytest.approx(random_cohort.passed[inside].mean())
    assert classes[-1]["sensitivity"] == pytest.approx(random_cohort.marked[inside].mean())


def test_patients_taken_twice_count_twice(random_cohort: Cohort) -> None:
    twice = random_cohort.take(np.array([2, 2, 5]))
    assert len(twice) == 30
    assert twice.patients == tuple(random_cohort.patients[index] for index in (2, 2, 5))
    dice = figures.patient_values(random_cohort)["dice"]
    assert figures.patient_values(twice)["dice"] == pytest.approx(dice[[2, 2, 5]])
    assert figures.headline(twice)["hd95_px_median"] == random_cohort.distances["hd95_px"][2]
    same = figures.headline(random_cohort.take(np.arange(12)))
    assert same == figures.headline(random_cohort)


def test_numbers_are_shown_with_their_unit() -> None:
    assert as_text(0.98765, Unit.share) == "0.988"
    assert as_text(11.25, Unit.distance_px) == "11.2 px"
    assert as_text(3, Unit.distance_mm) == "3.0 mm"
    assert as_text(None, Unit.area_px) == "-"
    assert interval_as_text((0.1, 0.25), Unit.share) == "0.100 to 0.250"
    assert interval_as_text([1.0, 2.5], Unit.area_px) == "1.0 to 2.5"
    assert interval_as_text(None, Unit.share) == ""
