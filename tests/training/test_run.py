from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch

from tumor_training.batches import Batch, LoaderOptions, SliceDataModule
from tumor_training.dataset import load
from tumor_training.evaluation.patients import trained_on
from tumor_training.evaluation.provenance import read_provenance
from tumor_training.inference import logits_of, probabilities_of
from tumor_training.run import RunOptions, fastest_precision, load_task, train
from tumor_training.scoring import patient_dice, slice_auc
from tumor_training.splits import Split, read_split
from tumor_training.tasks import TASKS, NetworkOptions, OptimizerOptions, SegmenterTask, Task, TaskOptions
from tumor_training.transforms import AugmentOptions
from tumorctl.config import bundled_repository
from tumorctl.contract import SEGMENTER
from tumorctl.errors import InvalidInput
from tumorctl.manifest import read_manifest

Runs = dict[str, tuple[RunOptions, Path]]


def network_state(checkpoint: Path, part: str = "state_dict") -> dict[str, torch.Tensor]:
    content: dict[str, dict[str, torch.Tensor]] = torch.load(checkpoint, weights_only=True)
    return {name: value for name, value in content[part].items() if name.startswith("network.")}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def metrics_of(options: RunOptions) -> list[dict[str, str]]:
    with (options.output / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("network", ["classifier", "segmenter"])
def test_a_run_leaves_checkpoints_metrics_and_a_summary(made_runs: Runs, network: str) -> None:
    options, best = made_runs[network]
    assert best == options.output / "best.ckpt"
    assert {path.name for path in options.output.iterdir()} >= {"best.ckpt", "last.ckpt", "metrics.csv", "run.json"}
    summary = json.loads((options.output / "run.json").read_text())
    assert summary["epochs"] == 2
    assert summary["options"]["network"] == network
    assert summary["options"]["fold"] == 0
    assert summary["options"]["task"]["network"] == {"depth": 18, "weights": "random", "width": 256}
    assert str(options.output.parent) not in json.dumps(summary)


@pytest.mark.parametrize("network", ["classifier", "segmenter"])
def test_metrics_are_written_for_each_epoch_and_the_best_is_kept(made_runs: Runs, network: str) -> None:
    options, best = made_runs[network]
    monitor = TASKS[network].monitor
    rows = metrics_of(options)
    values = {int(row["epoch"]): float(row[monitor]) for row in rows}
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert all(0 < float(row["train/loss"]) < 10 for row in rows)
    summary = json.loads((options.output / "run.json").read_text())
    assert summary["best"] == {"metric": monitor, "value": pytest.approx(max(values.values()))}
    assert values[torch.load(best, weights_only=True)["epoch"]] == max(values.values())


def test_the_kept_segmenter_scores_what_the_run_says(made_runs: Runs, made_patients: Path, made_split: Split) -> None:
    options, best = made_runs["segmenter"]
    slices = load(made_patients)
    indices = slices.indices_of(made_split.validation(0))
    masks = probabilities_of(load_task(best).network, slices.images[indices]) >= 0.5
    dice = patient_dice(masks, slices.masks[indices], [slices.patients[index] for index in indices])
    summary = json.loads((options.output / "run.json").read_text())
    assert np.mean(list(dice.values())) == pytest.approx(summary["best"]["value"], rel=1e-3)


def test_the_kept_classifier_scores_what_the_run_says(made_runs: Runs, made_patients: Path, made_split: Split) -> None:
    options, best = made_runs["classifier"]
    slices = load(made_patients)
    indices = slices.indices_of(made_split.validation(0))
    logits = torch.cat(list(logits_of(load_task(best).network, slices.images[indices])))
    positive = slices.masks[indices].any(axis=(1, 2))
    kept = metrics_of(options)[torch.load(best, weights_only=True)["epoch"]]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(positive).float())
    assert float(loss) == pytest.approx(float(kept["val/loss"]), rel=1e-3)
    assert slice_auc(torch.sigmoid(logits).numpy(), positive) == pytest.approx(float(kept["val/auc"]))


@pytest.mark.parametrize("network", ["classifier", "segmenter"])
def test_checkpoints_hold_averaged_weights(made_runs: Runs, network: str) -> None:
    options, best = made_runs[network]
    last = options.output / "last.ckpt"
    assert not same(network_state(last), network_state(last, "current_model_state"))
    if torch.load(best, weights_only=True)["epoch"] == 1:
        assert same(network_state(best), network_state(last))


@pytest.mark.parametrize("network", ["classifier", "segmenter"])
def test_a_task_comes_back_from_its_checkpoint_to_the_bit(made_runs: Runs, network: str) -> None:
    _, best = made_runs[network]
    task = load_task(best)
    assert type(task) is TASKS[network]
    assert not task.training
    stored = {name.removeprefix("network."): value for name, value in network_state(best).items()}
    assert same(dict(task.network.state_dict()), stored)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    contents: list[dict[str, Any]] = [{}, {"state_dict": {}}, {"hyper_parameters": {"task": "ClassifierTask"}}]
    for content in contents:
        torch.save(content, path)
        with pytest.raises(InvalidInput, match="is not a checkpoint of a training run"):
            load_task(path)
    path.write_bytes(b"")
    with pytest.raises(InvalidInput, match="is not a checkpoint of a training run"):
        load_task(path)


class PowerCut(Exception):
    """What ends a run in the middle."""


def test_a_resumed_run_ends_as_an_unbroken_one(
    made_runs: Runs,
    made_patients: Path,
    made_split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unbroken, _ = made_runs["segmenter"]
    options = replace(unbroken, output=tmp_path / "run")
    step = Task.training_step
    epochs: list[int] = []

    def cut_in_the_second_epoch(task: Task, batch: Batch, batch_index: int) -> torch.Tensor:
        if task.current_epoch == 1 and batch_index == 1:
            raise PowerCut
        return step(task, batch, batch_index)

    def note_the_epoch(task: Task, batch: Batch, batch_index: int) -> torch.Tensor:
        epochs.append(task.current_epoch)
        return step(task, batch, batch_index)

    monkeypatch.setattr(Task, "training_step", cut_in_the_second_epoch)
    with pytest.raises(PowerCut):
        train(options, made_patients, made_split)
    assert not (options.output / "run.json").exists()
    monkeypatch.setattr(Task, "training_step", note_the_epoch)
    train(options, made_patients, made_split)
    assert epochs == [1] * 4
    for part in ("state_dict", "current_model_state"):
        assert same(
            network_state(options.output / "last.ckpt", part), network_state(unbroken.output / "last.ckpt", part)
        )
    resumed, told = (json.loads((run.output / "run.json").read_text()) for run in (options, unbroken))
    assert resumed["best"] == told["best"]
    for row, other in zip(metrics_of(options), metrics_of(unbroken), strict=True):
        assert row | {"seconds": ""} == other | {"seconds": ""}


def test_a_finished_run_is_not_trained_again(
    made_runs: Runs, made_patients: Path, made_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, best = made_runs["classifier"]
    before = network_state(best)
    monkeypatch.setattr(Task, "training_step", lambda *arguments: pytest.fail("trained again"))
    assert train(options, made_patients, made_split) == best
    assert same(network_state(best), before)


def test_a_run_is_not_resumed_under_a_schedule_of_another_length(
    made_runs: Runs, made_patients: Path, made_split: Split
) -> None:
    options, _ = made_runs["classifier"]
    with pytest.raises(InvalidInput, match="begun with 8 steps and would go on with 12"):
        train(replace(options, epochs=3), made_patients, made_split)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epochs": 0}, "at least 1"),
        ({"loader": LoaderOptions(batch_size=0)}, "at least 1"),
        ({"loader": LoaderOptions(negative_share=0)}, "share of negatives"),
        ({"loader": LoaderOptions(negative_share=1.5)}, "share of negatives"),
        ({"loader": LoaderOptions(batch_size=13)}, "12 training slices do not fill a batch"),
        ({"fold": 3}, "folds 0 to 2"),
        ({"validate_every": 0}, "at least 1"),
        ({"task": TaskOptions(augment=AugmentOptions(crop=(100, 64)))}, "multiples of 32"),
        ({"task": TaskOptions(optimizer=OptimizerOptions(frozen_epochs=1)), "devices": 2}, "one process only"),
        ({"network": "detector"}, "no network 'detector'"),
        ({"task": TaskOptions(network=NetworkOptions(depth=20))}, "no ResNet-20"),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    changes: dict[str, Any], reason: str, made_patients: Path, made_split: Split, tmp_path: Path
) -> None:
    options = replace(RunOptions("classifier", tmp_path / "run", loader=LoaderOptions(batch_size=2)), **changes)
    with pytest.raises(InvalidInput, match=reason):
        train(options, made_patients, made_split)
    assert not (tmp_path / "run").exists()


def test_without_a_fold_everyone_trains_and_the_last_state_is_kept(
    made_patients: Path, made_split: Split, tmp_path: Path, one_thread: None
) -> None:
    augment = AugmentOptions(crop=(64, 64))
    options = RunOptions(
        "segmenter",
        tmp_path / "run",
        task=TaskOptions(augment=augment, slice_dice=0.5),
        loader=LoaderOptions(batch_size=8),
        fold=None,
        epochs=1,
        validate_every=2,  # there is nobody to look at, and the run is kept all the same
    )
    kept = train(options, made_patients, made_split)
    assert kept == tmp_path / "run" / "best.ckpt"
    kept_state, last_state = (network_state(kept.with_name(f"{name}.ckpt")) for name in ("best", "last"))
    assert all(torch.equal(value, last_state[name]) for name, value in kept_state.items())
    assert load_task(kept).options.augment == augment
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["options"]["fold"], run["best"]["value"], run["started_from"]) == (None, None, None)
    # Five of the six made-up patients, four slices each, are no test patients.
    assert run["slices"] == 20


def test_the_shipped_networks_are_tuned_with_norms_that_adapt(
    made_patients: Path, made_split: Split, tmp_path: Path, one_thread: None
) -> None:
    options = RunOptions(
        "segmenter",
        tmp_path / "run",
        task=TaskOptions(
            network=NetworkOptions(weights="shipped"),
            optimizer=OptimizerOptions(learning_rate=1e-5),
            augment=AugmentOptions(crop=(64, 64)),
        ),
        loader=LoaderOptions(batch_size=4, negative_share=0.1),
        epochs=1,
        average=0,
    )
    task = load_task(train(options, made_patients, made_split))
    assert isinstance(task, SegmenterTask)
    tuned = task.network
    as_wide = replace(options.task.network, width=task.options.network.width)
    start = SegmenterTask(replace(options.task, network=as_wide))
    start.measure_norms(torch.from_numpy(load(made_patients).images))
    moved = [
        float((a - b).detach().abs().max())
        for a, b in zip(tuned.parameters(), start.network.parameters(), strict=True)
        if a.ndim > 1
    ]
    assert 0 < max(moved) < 1e-3
    adapted = [
        name for name, buffer in tuned.named_buffers() if name.endswith("running_var") and bool((buffer != 1).any())
    ]
    assert len(adapted) == sum(isinstance(module, torch.nn.BatchNorm2d) for module in tuned.modules())
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["started_from"] == read_manifest(bundled_repository()).digests[SEGMENTER]


def test_the_shipped_networks_do_not_start_a_run_that_their_patients_validate(made_patients: Path) -> None:
    split = read_split()
    seen = trained_on(read_provenance(bundled_repository()), split)
    fold = next(index for index, fold in enumerate(split.folds) if set(fold) & seen)
    options = RunOptions(
        "segmenter", Path("unused"), task=TaskOptions(network=NetworkOptions(weights="shipped")), fold=fold
    )
    with pytest.raises(InvalidInput, match="have learned from"):
        train(options, made_patients, split)


def test_a_checkpoint_starts_no_run_that_its_patients_validate(
    made_runs: dict[str, tuple[RunOptions, Path]], made_patients: Path, made_split: Split, tmp_path: Path
) -> None:
    earlier, checkpoint = made_runs["segmenter"]
    options = RunOptions("classifier", tmp_path, task=TaskOptions(network=NetworkOptions(weights=str(checkpoint))))
    assert earlier.fold == options.fold
    other = Split(made_split.test, made_split.folds[::-1])
    for refused, split in ((replace(options, fold=1), made_split), (options, other)):
        with pytest.raises(InvalidInput, match="may have learned from patients who are to validate"):
            train(refused, made_patients, split)


def test_a_run_beside_the_working_folder_says_nothing_of_imagenet_weights(
    made_patients: Path, made_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started in the folder of another run, whose fold is another one."""
    (tmp_path / "run.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    options = RunOptions("classifier", tmp_path / "new", loader=LoaderOptions(batch_size=10_000))
    with pytest.raises(InvalidInput, match="do not fill a batch"):
        train(options, made_patients, made_split)


@pytest.mark.parametrize("network", ["classifier", "segmenter"])
def test_a_frozen_encoder_keeps_its_weights_and_then_learns(
    network: str, made_patients: Path, made_split: Split, tmp_path: Path, one_thread: None
) -> None:
    def moved(frozen_epochs: int) -> tuple[float, float]:
        """How far the encoder and the rest have come from their start in an epoch at a steady rate."""
        options = RunOptions(
            network,
            tmp_path / f"{network}-{frozen_epochs}",
            task=TaskOptions(
                optimizer=OptimizerOptions(one_cycle=False, frozen_epochs=frozen_epochs),
                augment=AugmentOptions(crop=(64, 64)),
            ),
            loader=LoaderOptions(batch_size=4),
            fold=None,
            epochs=1,
            average=0,
        )
        lightning.seed_everything(0, verbose=False)
        start = TASKS[network](options.task)
        end = load_task(train(options, made_patients, made_split))
        encoder = {id(parameter) for parameter in end.encoder_parameters()}
        far = [0.0, 0.0]
        for now, before in zip(end.network.parameters(), start.network.parameters(), strict=True):
            place = int(id(now) not in encoder)
            far[place] = max(far[place], float((now - before).detach().abs().max()))
        return far[0], far[1]

    encoder, rest = moved(1)
    assert encoder == 0
    assert rest > 0
    encoder, rest = moved(0)
    assert encoder > 0
    assert rest > 0


def test_a_compiled_run_keeps_the_plain_network(
    made_patients: Path, made_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    """torch.compile itself takes minutes; that training goes through it is what counts here."""
    calls = []

    class Compiled:
        """Like a module that torch.compile made, it refuses to tell its length, and so whether it is true."""

        def __init__(self, learner: Callable[[torch.Tensor], torch.Tensor]) -> None:
            self.learner = learner

        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            calls.append(torch.is_grad_enabled())
            return self.learner(images)

        def __len__(self) -> int:
            raise TypeError("does not support len()")

    monkeypatch.setattr(torch, "compile", Compiled)
    options = RunOptions(
        "classifier", tmp_path / "run", loader=LoaderOptions(batch_size=4), epochs=1, compiled=True, fold=None
    )
    load_task(train(options, made_patients, made_split))
    assert len(calls) == 5
    assert all(calls)


def test_bfloat16_is_chosen_where_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    for names, precision in (
        ({"avx512_bf16": True}, "32-true"),
        ({"amx_bf16": True}, "bf16-mixed"),
        ({}, "32-true"),
    ):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda names=names: names)
        assert fastest_precision() == precision
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **options: True)
    assert fastest_precision() == "bf16-mixed"


def test_a_split_of_other_patients_is_refused(made_patients: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no slices of noone"):
        train(RunOptions("classifier", tmp_path), made_patients, Split((), (("nobody",), ("noone",))))


class Spy(lightning.LightningModule):
    """Notes which slices each epoch shows, and learns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.epochs: dict[int, list[int]] = {}

    def training_step(self, batch: Batch, batch_index: int) -> None:
        self.epochs.setdefault(self.current_epoch, []).extend(int(image.sum()) for image in batch["images"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_each_epoch_shows_a_fresh_draw_of_negatives(made_patients: Path, made_split: Split, tmp_path: Path) -> None:
    slices = load(made_patients)
    module = SliceDataModule(
        slices, made_split.train(0), made_split.validation(0), LoaderOptions(batch_size=1, negative_share=0.5), seed=0
    )
    spy = Spy()
    trainer = lightning.Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        limit_val_batches=0,
        default_root_dir=tmp_path,
    )
    trainer.fit(spy, train_dataloaders=module.train_dataloader())
    positive = {int(slices.images[i].sum()) for i in module.train_set.indices if slices.masks[i].any()}
    draws = {frozenset(seen) - positive for seen in spy.epochs.values()}
    assert all(positive <= set(seen) for seen in spy.epochs.values())
    assert len(draws) > 1


def test_options_come_back_from_plain_values() -> None:
    options = TaskOptions(network=NetworkOptions(50, "weights.safetensors"), seed=3)
    assert TaskOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options
