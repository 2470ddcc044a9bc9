from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tumor_training.evaluation.card import make_card, read_metrics, reproduce, write_card
from tumor_training.evaluation.cohort import Cohort
from tumor_training.evaluation.intervals import BootstrapOptions
from tumor_training.evaluation.provenance import Provenance, read_provenance
from tumor_training.evaluation.run import summary
from tumor_training.splits import Split, read_split
from tumorctl.config import bundled_repository
from tumorctl.errors import InvalidInput, LeakedPatients, MismatchedFigures

Metrics = dict[str, Any]


@pytest.fixture
def provenance() -> Provenance:
    """Of the networks that came along: their manifest as it is, whatever it says."""
    return read_provenance(bundled_repository())


@pytest.fixture(scope="module")
def made_up(make_cohort: Callable[..., Cohort]) -> Metrics:
    """Made-up figures on the test patients."""
    random = np.random.default_rng(5)
    slices = {}
    for patient in read_split().test:
        volume, quality = int(random.integers(1000, 9000)), random.uniform(0.4, 1)
        found = int(volume * quality)
        slices[patient] = [(0.9, True, volume, found, found), (0.3, True, 0, 9, 0), (0.02, False, 0, 0, 0)]
    cohort = make_cohort(slices, list(random.uniform(1, 20, len(slices))))
    return summary(cohort, BootstrapOptions(30), lambda name, parts: lambda: None)


@pytest.fixture
def metrics(provenance: Provenance, made_up: Metrics) -> Metrics:
    return {
        "schema": 1,
        "part": "test",
        "fold": None,
        "replaced": [],
        "spacing_mm": None,
        "split_sha256": read_split().digest,
        "trained_on": [],
        "networks": {
            "version": provenance.version,
            "digests": dict(provenance.digests),
            "thresholds": dict(provenance.thresholds),
            "engine": "local",
            "precision": "fp32",
            "software": {},
        },
        **copy.deepcopy(made_up),
    }


def without_t1(metrics: Metrics) -> Metrics:
    return {**copy.deepcopy(metrics), "replaced": ["t1-pre"], "dice_mean": metrics["dice_mean"] - 0.0125}


def tables(card: str) -> list[list[str]]:
    """Each Markdown table's lines."""
    return [block.split("\n") for block in re.findall(r"(?:^\|.*\|\n)+", card, re.M) for block in [block.rstrip()]]


def test_the_card_says_what_a_reader_needs(provenance: Provenance, metrics: Metrics) -> None:
    card = make_card(provenance, read_split(), metrics)
    headings = re.findall(r"^## (.*)$", card, re.M)
    assert headings == [
        "Model details",
        "Uses",
        "Bias, risks and limits",
        "Training data",
        "Training procedure",
        "Evaluation",
        "Citation",
    ]
    for needed in (
        "Research use only",
        "CC BY-NC-SA 4.0",
        "CC BY 3.0",
        "M. Buda",
        "TCGA-LGG",
        read_split().digest,
        *provenance.digests.values(),
        f"{provenance.thresholds['gate']:.4g}",
        f"{metrics['dice_worst']:.3f}",
        "| task.network.depth | ",
        "What that costs was not measured for this card.",
    ):
        assert needed in card, needed
    low, high = metrics["intervals"]["dice_mean"]
    assert f"| volume Dice, mean | {metrics['dice_mean']:.3f} ({low:.3f} to {high:.3f}) |" in card
    for name in ("auc", "average_precision", "specificity", "expected_calibration_error"):
        assert f"{metrics[name]:.3f}" in card


def test_it_is_whole_markdown(provenance: Provenance, metrics: Metrics) -> None:
    card = make_card(provenance, read_split(), metrics, [without_t1(metrics)])
    assert not re.search(r"\{[{%]|[%}]\}|None|nan|Undefined", card)
    assert card.endswith("\n")
    assert not re.search(r"\n\n\n\n|[^\n]\n#", card)
    found = tables(card)
    assert len(found) >= 10
    for table in found:
        assert len({line.replace("\\|", "").count("|") for line in table}) == 1, table[0]
        assert set(table[1]) <= set("|-: ")


def test_sites_and_sizes_have_their_counts(provenance: Provenance, metrics: Metrics) -> None:
    split = read_split()
    card = make_card(replace(provenance, fold=0), split, metrics)
    trained = [patient for patient in split.train(0) if "_HT_" in patient]
    judged = [patient for patient in split.test if "_HT_" in patient]
    assert f"| HT | {len(trained)} | {len(judged)} |" in card
    assert f"| **all** | {len(split.train(0))} | {len(split.test)} |" in card
    for name, values in metrics["by_size"].items():
        assert f"| {name} | {values['patients']} | {values['slices']} |" in card


def test_networks_of_all_development_patients_say_so(provenance: Provenance, metrics: Metrics) -> None:
    split = read_split()
    final = make_card(replace(provenance, fold=None), split, metrics)
    assert f"All {len(split.development)} development patients trained the networks" in final
    assert "patients of fold" not in final
    assert "patients of fold 3 trained nothing" in make_card(replace(provenance, fold=3), split, metrics)


def test_missing_sequences_are_compared(provenance: Provenance, metrics: Metrics) -> None:
    card = make_card(provenance, read_split(), metrics, [without_t1(metrics)])
    assert "What that costs is measured below." in card
    assert re.search(r"^\| none \|.*\| \+0.000 \|$", card, re.M)
    assert re.search(r"^\| t1-pre \|.*\| -0.01[23] \|$", card, re.M)
    assert "--replace t1-pre" in card
    assert "--replaced results/test-no-t1-pre/metrics.json -o MODEL_CARD.md" in card


def test_the_command_is_the_one_that_was_run(metrics: Metrics) -> None:
    assert reproduce(metrics) == (
        "tumorctl evaluate kaggle_3m --part test --precision fp32 --resamples 30 --seed 0 -o results/test"
    )
    measured = {**without_t1(metrics), "spacing_mm": {"row": 0.9, "column": 0.8, "slice": 5.5}}
    measured["networks"] = {**measured["networks"], "engine": "triton", "precision": None}
    assert reproduce(measured) == (
        "tumorctl evaluate kaggle_3m --part test --replace t1-pre --spacing-mm 0.9 0.8 --slice-spacing-mm 5.5 "
        "--resamples 30 --seed 0 -o results/test-no-t1-pre"
    )


def test_the_same_run_makes_the_same_card(provenance: Provenance, metrics: Metrics, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    for name in ("a.md", "b.md"):
        write_card(tmp_path / name, provenance, read_split(), read_metrics(tmp_path / "metrics.json"))
    assert (tmp_path / "a.md").read_bytes() == (tmp_path / "b.md").read_bytes()


def test_a_test_patient_that_trained_is_refused(provenance: Provenance, metrics: Metrics) -> None:
    """The figures name a patient that the split trained on."""
    trained = read_split().train(0)[0]
    metrics["by_patient"][trained] = metrics["by_patient"][read_split().test[0]]
    with pytest.raises(LeakedPatients, match=f"1 patients trained the networks and judge them, {trained}"):
        make_card(replace(provenance, fold=0), read_split(), metrics)


def test_a_run_that_judged_training_patients_is_refused(provenance: Provenance, metrics: Metrics) -> None:
    metrics["trained_on"] = [read_split().test[0]]
    with pytest.raises(LeakedPatients):
        make_card(provenance, read_split(), metrics)


def test_a_split_with_a_patient_on_both_sides_is_refused(tmp_path: Path) -> None:
    content = json.loads(read_split().to_json())
    content["test"].append(content["folds"][0][0])
    (tmp_path / "split.json").write_text(json.dumps(content))
    with pytest.raises(LeakedPatients, match="the split leaks"):
        read_split(tmp_path / "split.json")


def _validation(metrics: Metrics) -> None:
    metrics["part"] = "validation"


def _other_digest(metrics: Metrics) -> None:
    metrics["networks"]["digests"]["tumor_segmenter"] = "0" * 64


def _no_digests(metrics: Metrics) -> None:
    metrics["networks"]["digests"] = {}


def _other_split(metrics: Metrics) -> None:
    metrics["split_sha256"] = "0" * 64


def _a_patient_less(metrics: Metrics) -> None:
    del metrics["by_patient"][read_split().test[0]]


def _other_threshold(metrics: Metrics) -> None:
    metrics["networks"]["thresholds"]["gate"] += 0.01


def _replaced(metrics: Metrics) -> None:
    metrics["replaced"] = ["t1-post"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_validation, "of the part validation"),
        (_other_digest, "of other networks"),
        (_no_digests, "of other networks"),
        (_other_split, "not of the test patients"),
        (_a_patient_less, "not of the test patients"),
        (_other_threshold, "other thresholds"),
        (_replaced, "a sequence replaced"),
    ],
)
def test_figures_of_something_else_are_refused(
    provenance: Provenance, metrics: Metrics, change: Callable[[Metrics], None], reason: str
) -> None:
    change(metrics)
    with pytest.raises(MismatchedFigures, match=reason):
        make_card(provenance, read_split(), metrics)


def test_figures_to_compare_are_checked_alike(provenance: Provenance, metrics: Metrics) -> None:
    with pytest.raises(MismatchedFigures, match="a run with --replace"):
        make_card(provenance, read_split(), metrics, [metrics])
    other = without_t1(metrics)
    _other_digest(other)
    with pytest.raises(MismatchedFigures, match="of other networks"):
        make_card(provenance, read_split(), metrics, [other])


def test_another_split_than_the_networks_is_refused(
    provenance: Provenance, metrics: Metrics, made_split: Split
) -> None:
    with pytest.raises(MismatchedFigures, match="--split"):
        make_card(provenance, made_split, metrics)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 2}'])
def test_what_is_not_a_metrics_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(InvalidInput, match=r"metrics\.json"):
        read_metrics(tmp_path / "metrics.json")
    with pytest.raises(InvalidInput, match="is not a metrics"):
        read_metrics(tmp_path / "none.json")
