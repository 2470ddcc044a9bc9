"""The commands from end to end, with networks of two short runs on the made-up patients."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tumor_training import cli
from tumor_training.evaluation.provenance import read_provenance
from tumor_training.evaluation.run import _check_networks
from tumor_training.splits import Split
from tumorctl.errors import LeakedPatients

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def tumorctl(made_repository: Path, made_split: Split, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Runs a command on the made-up networks and split: its exit status, stdout and stderr."""
    app = typer.Typer()
    app.command("evaluate")(cli.evaluate)
    app.command("card")(cli.card)
    split = tmp_path_factory.mktemp("split") / "split.json"
    split.write_text(made_split.to_json())
    settings = {"TUMORCTL_MODEL_REPOSITORY": str(made_repository)}

    def invoke(*arguments: str | Path | float) -> tuple[int, str, str]:
        done = CliRunner(env=settings).invoke(app, [*(str(argument) for argument in arguments), "--split", str(split)])
        return done.exit_code, done.stdout, done.stderr

    return invoke


@pytest.fixture(scope="module")
def judged(tumorctl: Command, made_patients: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of an evaluation on the test part."""
    output = tmp_path_factory.mktemp("judged") / "test"
    status, text, errors = tumorctl("evaluate", made_patients, "--part", "test", "-o", output, "--resamples", 20)
    assert status == 0, errors
    assert "Test: 1 patients, 4 slices, 2 with tumour" in text
    for title in ("By site", "By size of the tumour", "Slices with tumour, by area", "Worst patients"):
        assert title in text
    return output


def numbers(content: Any) -> Iterator[float]:
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for one in content:
            yield from numbers(one)
    elif isinstance(content, float):
        yield content


def test_figures_say_what_they_are_of(judged: Path, made_split: Split, made_repository: Path) -> None:
    metrics = json.loads((judged / "metrics.json").read_text())
    assert all(math.isfinite(number) for number in numbers(metrics))
    assert (metrics["part"], metrics["fold"], metrics["replaced"], metrics["trained_on"]) == ("test", None, [], [])
    assert metrics["split_sha256"] == made_split.digest
    assert metrics["networks"]["digests"] == dict(read_provenance(made_repository).digests)
    assert metrics["bootstrap"] == {"level": 0.95, "resamples": 20, "seed": 0}
    (patient,) = made_split.test
    assert metrics["dice"] == {patient: metrics["by_patient"][patient]["dice"]}
    assert metrics["dice_mean"] == metrics["dice"][patient]
    assert metrics["by_site"]["CS"]["dice_mean"] == metrics["dice_mean"]
    assert set(metrics["intervals"].values()) == {None}


def test_predictions_plots_and_pictures_lie_beside_them(judged: Path, made_split: Split) -> None:
    found = {path.relative_to(judged).as_posix() for path in judged.rglob("*") if path.is_file()}
    assert {"predictions.csv", "studies.csv", "run.json", "metrics.json"} <= found
    assert {"plots/roc.png", "plots/precision_recall.png", "plots/reliability.png"} <= found
    assert f"worst/01_{made_split.test[0]}.png" in found


def test_a_replaced_sequence_is_predicted_and_a_card_compares_it(
    tumorctl: Command, judged: Path, made_patients: Path, made_repository: Path, tmp_path: Path
) -> None:
    status, text, errors = tumorctl(
        *("evaluate", made_patients, "--part", "test", "--replace", "t1-pre", "--replace", "t1-post"),
        *("-o", tmp_path / "out", "--resamples", 20, "--worst", 0),
    )
    assert status == 0, errors
    assert "Note: t1-pre and t1-post replaced by the FLAIR." in text
    assert "Worst patients" not in text
    with_all, without = (json.loads((folder / "metrics.json").read_text()) for folder in (judged, tmp_path / "out"))
    assert without["replaced"] == ["t1-pre", "t1-post"]
    assert without["positive_slices"] == with_all["positive_slices"]
    assert without["reliability"] != with_all["reliability"]
    card = tmp_path / "MODEL_CARD.md"
    status, text, errors = tumorctl(
        *("card", judged / "metrics.json", "--replaced", tmp_path / "out" / "metrics.json", "-o", card),
        *("--model-repository", made_repository),
    )
    assert (status, text) == (0, f"model card: {card}\n"), errors
    assert f"{with_all['dice_mean']:.3f}" in card.read_text()
    assert "| t1-pre and t1-post |" in card.read_text()


def test_validation_patients_judge_with_a_note_and_distances_in_mm(
    tumorctl: Command, made_patients: Path, made_split: Split, tmp_path: Path
) -> None:
    status, text, errors = tumorctl(
        *("evaluate", made_patients, "-o", tmp_path, "--resamples", 0),
        *("--spacing-mm", 0.5, 0.5, "--slice-spacing-mm", 5),
    )
    assert status == 0, errors
    assert "validation patients chose" in text
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["fold"], set(metrics["dice"])) == (0, set(made_split.folds[0]))
    assert metrics["spacing_mm"] == {"row": 0.5, "column": 0.5, "slice": 5.0}
    for values in metrics["by_patient"].values():
        if values["hd95_px"] is not None:
            assert values["hd95_mm"] == pytest.approx(values["hd95_px"] / 2)


def test_patients_that_trained_are_refused_and_leave_nothing(
    tumorctl: Command, made_patients: Path, tmp_path: Path
) -> None:
    status, _, errors = tumorctl("evaluate", made_patients, "--fold", 1, "-o", tmp_path / "out")
    assert status == 2
    assert "trained these networks" in errors
    assert not (tmp_path / "out").exists()


def test_patients_that_trained_are_named_where_they_are_allowed_and_no_card_shows_them(
    tumorctl: Command, made_patients: Path, made_repository: Path, made_split: Split, tmp_path: Path
) -> None:
    status, output, errors = tumorctl(
        *("evaluate", made_patients, "--part", "all", "--allow-training-patients", "--json"),
        *("-o", tmp_path, "--resamples", 5, "--worst", 0),
    )
    assert status == 0, errors
    metrics = json.loads(output)
    assert set(metrics["trained_on"]) == {*made_split.folds[1], *made_split.folds[2]}
    assert len(metrics["dice"]) == 6
    assert metrics["intervals"]["dice_mean"] is not None
    status, _, errors = tumorctl(
        "card", tmp_path / "metrics.json", "-o", tmp_path / "card.md", "--model-repository", made_repository
    )
    assert status == 2
    assert "trained the networks and judge them" in errors
    assert not (tmp_path / "card.md").exists()


def test_failed_slices_count_as_missed_and_end_with_status_3(
    tumorctl: Command, made_patients: Path, made_split: Split, tmp_path: Path
) -> None:
    patient = made_split.test[0]
    shutil.copytree(made_patients / patient, tmp_path / "data" / patient)
    (tmp_path / "data" / patient / f"{patient}_2.tif").write_bytes(b"damaged")
    status, text, errors = tumorctl(
        "evaluate", tmp_path / "data", "--part", "test", "-o", tmp_path / "out", "--resamples", 0
    )
    assert status == 3, errors
    assert "Note: 1 slices failed and count as missed" in text
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["failed_slices"], metrics["positive_slices"]) == (1, 2)
    assert metrics["sensitivity"] <= 0.5


def test_a_slice_spacing_alone_is_wrong_usage(tumorctl: Command, made_patients: Path, tmp_path: Path) -> None:
    status, _, errors = tumorctl("evaluate", made_patients, "-o", tmp_path, "--slice-spacing-mm", 5)
    assert status == 2
    assert "goes with --spacing-mm" in errors


def test_a_server_that_does_not_tell_its_networks_is_refused(made_repository: Path) -> None:
    provenance = read_provenance(made_repository)

    def client(digests: dict[str, str]) -> Any:
        return SimpleNamespace(info=SimpleNamespace(target="host:8001", model_digests=digests))

    _check_networks(client(dict(provenance.digests)), provenance)
    for digests in ({}, {**provenance.digests, "tumor_segmenter": "0"}):
        with pytest.raises(LeakedPatients, match="TUMORCTL_MODEL_REPOSITORY"):
            _check_networks(client(digests), provenance)
    with pytest.raises(LeakedPatients):
        _check_networks(client(dict(provenance.digests)), replace(provenance, digests={"tumor_segmenter": "0"}))
