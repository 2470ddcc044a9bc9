from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tumor_training import cli, run
from tumor_training.dataset import load
from tumor_training.run import RunOptions
from tumor_training.splits import Split, read_split

FIRST = "TCGA_CS_0000_19960101"


@pytest.fixture
def tumorctl() -> Callable[..., tuple[int, str, str]]:
    """Runs a command: its exit status, stdout and stderr."""
    app = typer.Typer()
    app.add_typer(cli.data_app, name="data")
    app.command("train")(cli.train)
    app.command("evaluate")(cli.evaluate)

    def invoke(*arguments: str | Path) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        return done.exit_code, done.stdout, done.stderr

    return invoke


Command = Callable[..., tuple[int, str, str]]


def test_verify_counts_by_site(tumorctl: Command, made_patients: Path) -> None:
    status, output, _ = tumorctl("data", "verify", made_patients)
    assert status == 0
    assert "6 patients, 24 slices, 12 with tumour, 0 problems" in output
    rows = [line.replace("│", " ").split() for line in output.splitlines()]
    for site in ("CS", "DU", "HT"):
        assert [site, "2", "8", "4"] in rows


def test_verify_lists_problems_and_ends_with_status_3(tumorctl: Command, own_patients: Path) -> None:
    (own_patients / FIRST / f"{FIRST}_2.tif").write_bytes(b"")
    status, output, _ = tumorctl("data", "verify", own_patients)
    assert status == 3
    assert "23 slices, 11 with tumour, 2 problems" not in output
    assert f"{FIRST}/{FIRST}_2.tif: empty file (0 bytes)" in output
    status, output, _ = tumorctl("data", "verify", own_patients, "--json")
    assert status == 3
    assert json.loads(output) == {
        "patients": 6,
        "slices": 23,
        "positive": 11,
        "problems": [{"name": f"{FIRST}/{FIRST}_2.tif", "reason": "empty file (0 bytes)"}],
    }


@pytest.mark.parametrize("missing", [True, False])
def test_verify_of_nothing_is_wrong_usage(tumorctl: Command, tmp_path: Path, missing: bool) -> None:
    status, output, errors = tumorctl("data", "verify", tmp_path / "none" if missing else tmp_path)
    assert (status, output) == (2, "")
    assert errors.startswith("error: ")


def test_split_writes_a_split_of_the_patients(tumorctl: Command, made_patients: Path, tmp_path: Path) -> None:
    judges = tmp_path / "test.txt"
    judges.write_text(f"{FIRST}\n")
    path = tmp_path / "new" / "split.json"
    status, output, _ = tumorctl("data", "split", made_patients, "-o", path, "--test", judges, "--folds", "2")
    assert status == 0
    assert "1 test patients, 5 others in 2 folds, 3 sites" in output
    split = read_split(path)
    assert split.test == (FIRST,)
    assert sorted([*split.test, *split.development]) == sorted(folder.name for folder in made_patients.iterdir())


def test_splits_of_the_same_seed_are_the_same(tumorctl: Command, made_patients: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert tumorctl("data", "split", made_patients, "-o", tmp_path / name, "--folds", 3, "--seed", seed)[0] == 0
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() != (tmp_path / "c").read_text()


@pytest.mark.parametrize("judges", ["nobody\n", None])
def test_split_refuses_test_patients_that_are_not_there(
    tumorctl: Command, made_patients: Path, tmp_path: Path, judges: str | None
) -> None:
    if judges:
        (tmp_path / "test.txt").write_text(judges)
    status, _, errors = tumorctl("data", "split", made_patients, "-o", tmp_path / "s", "--test", tmp_path / "test.txt")
    assert status == 2
    assert ("without data: nobody" if judges else "cannot be read") in errors
    assert not (tmp_path / "s").exists()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[RunOptions, Path, Split, Path | None]]:
    """What `train` was called with; nothing is trained."""
    calls: list[tuple[RunOptions, Path, Split, Path | None]] = []

    def note(options: RunOptions, data: Path, split: Split, cache: Path | None) -> Path:
        calls.append((options, data, split, cache))
        return options.output / "best.ckpt"

    monkeypatch.setattr(run, "train", note)
    return calls


@pytest.mark.parametrize(("network", "share"), [("classifier", 1.0), ("segmenter", 0.33)])
def test_train_has_defaults_for_each_network(
    tumorctl: Command, asked: list[tuple[RunOptions, Path, Split, Path | None]], network: str, share: float
) -> None:
    status, output, _ = tumorctl("train", network, "data", "-o", "out")
    assert (status, output) == (0, f"checkpoint: {Path('out', 'best.ckpt')}\n")
    ((options, data, split, cache),) = asked
    assert (options.network, options.output, data, cache) == (network, Path("out"), Path("data"), None)
    assert options.loader.negative_share == share
    assert options.task.network.weights == "imagenet"
    assert split == read_split()


def test_train_passes_its_options_on(
    tumorctl: Command,
    asked: list[tuple[RunOptions, Path, Split, Path | None]],
    made_split: Split,
    tmp_path: Path,
) -> None:
    path = tmp_path / "split.json"
    path.write_text(made_split.to_json())
    status, _, errors = tumorctl(
        *("train", "segmenter", "data", "-o", "out", "--depth", 50, "--weights", "random", "--epochs", 3),
        *("--batch-size", 5, "--learning-rate", 0.01, "--negative-share", 0.5, "--fold", 2, "--split", path),
        *("--cache", "c", "--precision", "32-true", "--average", 0, "--workers", 1, "--devices", 2, "--nodes", 3),
        *("--seed", 9, "--no-resume"),
    )
    assert status == 0, errors
    ((options, _, split, cache),) = asked
    assert (split, cache) == (made_split, Path("c"))
    assert (options.task.network.depth, options.task.network.weights, options.task.seed) == (50, "random", 9)
    assert options.task.optimizer.learning_rate == 0.01
    assert (options.loader.batch_size, options.loader.negative_share, options.loader.workers) == (5, 0.5, 1)
    assert (options.fold, options.epochs, options.precision, options.average) == (2, 3, "32-true", 0)
    assert (options.devices, options.nodes, options.resume) == (2, 3, False)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("train", "detector", "data", "-o", "out"), "detector"),
        (("train", "classifier", "data"), "--output"),
        (("train", "classifier", "data", "-o", "out", "--epochs", "0"), "--epochs"),
        (("train", "classifier", "missing", "-o", "out"), "missing does not exist"),
        (("train", "classifier", "missing", "-o", "out", "--fold", "5"), "folds 0 to 4"),
        (("train", "classifier", "missing", "-o", "out", "--negative-share", "0"), "share of negatives"),
        (("train", "classifier", "data", "-o", "out", "--split", "missing.json"), "is not a split file"),
    ],
)
def test_wrong_usage_of_train_ends_with_status_2(tumorctl: Command, arguments: tuple[str, ...], reason: str) -> None:
    status, output, errors = tumorctl(*arguments)
    assert (status, output) == (2, "")
    assert reason in errors


def test_evaluate_refuses_patients_that_are_not_there(
    tumorctl: Command, made_patients: Path, made_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The made-up patients are not those of the committed split."""
    monkeypatch.setenv("TUMORCTL_MODEL_REPOSITORY", str(made_repository))
    status, _, errors = tumorctl("evaluate", made_patients, "-o", tmp_path / "out")
    assert status == 2
    assert "no folder of TCGA_" in errors


def test_evaluate_writes_and_prints_the_figures_of_a_part(
    tumorctl: Command,
    made_patients: Path,
    made_repository: Path,
    made_split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TUMORCTL_MODEL_REPOSITORY", str(made_repository))
    (tmp_path / "split.json").write_text(made_split.to_json())
    status, output, errors = tumorctl(
        *("evaluate", made_patients, "-o", tmp_path / "out", "--split", tmp_path / "split.json"),
        *("--part", "test", "--json", "--precision", "fp32"),
    )
    assert status == 0, errors
    figures = json.loads(output)
    assert figures["part"] == "test"
    assert (figures["patients"], figures["slices"], figures["positive_slices"]) == (1, 4, 2)
    assert figures["dice"].keys() == set(made_split.test)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == figures


def test_the_installed_command_trains(made_patients: Path, made_split: Split, tmp_path: Path) -> None:
    """Two processes, data-parallel, on the processor; each reads its own slices of a fresh draw."""
    (tmp_path / "split.json").write_text(made_split.to_json())
    load(made_patients, tmp_path / "cache")
    command: list[str | Path] = [
        *(Path(sys.executable).with_name("tumorctl"), "train", "classifier", made_patients),
        *("--output", tmp_path / "run", "--split", tmp_path / "split.json", "--cache", tmp_path / "cache"),
        *("--weights", "random", "--epochs", "2", "--batch-size", "2", "--negative-share", "0.34"),
        *("--devices", "2", "--precision", "32-true"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"checkpoint: {tmp_path / 'run' / 'best.ckpt'}\n"
    assert re.search(r"classifier: \d+ slices of \d+ patients to learn from, \d+ patients to validate", done.stderr)
    for noise in ("sync_dist", "Tip", "LeafSpec", "INFO lightning"):
        assert noise not in done.stderr
    summary = json.loads((tmp_path / "run" / "run.json").read_text())
    assert summary["epochs"] == 2
    assert summary["options"]["devices"] == 2
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 3
