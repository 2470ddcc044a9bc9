"""One training run: from options to checkpoints in a folder of its own."""

from __future__ import annotations

import csv
import json
import logging
import sys
import time
import warnings
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint, RichProgressBar

from tumor_training.batches import LoaderOptions, SliceDataModule
from tumor_training.dataset import load
from tumor_training.evaluation.patients import trained_on
from tumor_training.evaluation.provenance import read_provenance
from tumor_training.networks.weights import SHIPPED, read_shipped, width_of
from tumor_training.splits import Split, read_split
from tumor_training.tasks import TASKS, ClassifierTask, SegmenterTask, Task, TaskOptions
from tumorctl.config import bundled_repository
from tumorctl.contract import SEGMENTER
from tumorctl.errors import InvalidInput
from tumorctl.manifest import read_manifest
from tumorctl.outputs.files import write_whole

logger = logging.getLogger(__name__)

SUMMARY = "run.json"
"""Beside a checkpoint: how the run went that made it."""
_SAMPLE = 128
"""Slices that the statistics of folded norms are measured on."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """One run.

    Attributes:
        network: ``classifier`` or ``segmenter``.
        output: folder of the run: checkpoints, logs, ``run.json``.
        task: network, optimizer and augmentation.
        loader: how slices are fed.
        fold: the fold of the split that validates; None trains on all development patients and validates nothing, and
            what it keeps is what it ended with.
        epochs: length of the run; the one-cycle schedule spans it.
        validate_every: epochs between looks at the validation patients; only then can a checkpoint become the best.
        precision: Lightning's name, such as ``bf16-mixed`` or ``32-true``; ``auto`` is bf16-mixed where the GPU
            computes in bfloat16 natively or the processor has AMX, else 32-true, which is then faster.
        channels_last: whether the channels of a pixel lie together in memory.
        compiled: train through torch.compile, which takes a minute or two before the first step.
        average: decay of the exponential moving average of the weights, which is what is validated and kept; 0 for
            none.
        devices: processes on this machine; above 1 they train data-parallel.
        nodes: machines, each started by torchrun.
        resume: continue from the run's last checkpoint where there is one.
    """

    network: str
    output: Path
    task: TaskOptions = field(default_factory=TaskOptions)
    loader: LoaderOptions = field(default_factory=LoaderOptions)
    fold: int | None = 0
    epochs: int = 20
    validate_every: int = 1
    precision: str = "auto"
    channels_last: bool = True
    compiled: bool = False
    average: float = 0.99
    devices: int = 1
    nodes: int = 1
    resume: bool = True


def train(options: RunOptions, data: Path, split: Split, cache: Path | None = None) -> Path:
    """Train one network and return the checkpoint that did best on the validation patients, or the last without them.

    Args:
        options: the run.
        data: folder in the Kaggle layout.
        split: patients that train and validate; test patients are never loaded into a loop.
        cache: folder for decoded slices.

    Raises:
        InvalidInput: the data, split or options cannot be used.
    """
    if (
        options.epochs < 1
        or options.validate_every < 1
        or options.loader.batch_size < 1
        or not 0 < options.loader.negative_share <= 1
    ):
        raise InvalidInput("epochs and batch size are at least 1, the share of negatives is in (0, 1]")
    if options.task.optimizer.frozen_epochs and options.devices * options.nodes > 1:
        raise InvalidInput("the encoder can be frozen in runs of one process only")
    if (crop := options.task.augment.crop) and any(side < 32 or side % 32 for side in crop):
        raise InvalidInput(f"crop {crop[0]}x{crop[1]}: both must be multiples of 32 pixels")
    if (width := options.task.network.width) < 16 or width % 16:
        raise InvalidInput(f"width {width}: must be a multiple of 16 channels")
    lightning.seed_everything(options.task.seed, workers=True, verbose=False)
    validation = split.validation(options.fold)
    if options.task.network.weights == SHIPPED:
        _refuse_seen(validation)
        if options.network == "segmenter":
            options = _as_wide_as_shipped(options)
    elif validation:
        _refuse_another_fold(Path(options.task.network.weights), options.fold, split)
    slices = load(data, cache)
    module = SliceDataModule(slices, split.train(options.fold), validation, options.loader, options.task.seed)
    if len(module.sampler) < options.loader.batch_size * options.devices * options.nodes:
        raise InvalidInput(f"{len(module.sampler)} training slices do not fill a batch of every process")
    task = _task(options, validation)
    if options.task.network.weights == SHIPPED:
        task.measure_norms(module.training_sample(_SAMPLE))
    if options.channels_last:
        task.use_channels_last()
    if options.compiled:
        task.compile_network()
    # Whole checkpoints: of weights alone, Lightning would store the last ones and not their moving average.
    best = ModelCheckpoint(
        options.output,
        filename="best",
        monitor=task.monitor if validation else None,
        mode="max",
        enable_version_counter=False,
        save_on_train_epoch_end=None if validation else True,
    )
    # After each epoch: by itself, Lightning would wait for the next look at validation patients, which may never come.
    last = ModelCheckpoint(options.output, filename="last", enable_version_counter=False, save_on_train_epoch_end=True)
    precision = fastest_precision() if options.precision == "auto" else options.precision
    trainer = lightning.Trainer(
        max_epochs=options.epochs,
        precision=precision,  # type: ignore[arg-type]
        accelerator="auto",
        devices=options.devices,
        num_nodes=options.nodes,
        strategy="ddp" if options.devices * options.nodes > 1 else "auto",
        callbacks=[best, last, *_callbacks(options)],
        logger=False,
        default_root_dir=options.output,
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=options.validate_every,
        limit_val_batches=None if validation else 0,
        gradient_clip_val=1.0,
    )
    checkpoint = options.output / "last.ckpt"
    started = time.monotonic()
    if trainer.is_global_zero:
        logger.info(
            "%s: %d slices of %d patients to learn from, %d patients to validate; %s on %s",
            options.network,
            len(module.train_set),
            len(split.train(options.fold)),
            len(validation),
            precision,
            trainer.strategy.root_device.type,
        )
    with warnings.catch_warnings():
        # Lightning's own use of PyTorch; nothing that a user could do about.
        warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.* is deprecated")
        # A resumed run finds its own checkpoints there.
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
        trainer.fit(
            task, module, ckpt_path=checkpoint if options.resume and checkpoint.is_file() else None, weights_only=True
        )
    if trainer.is_global_zero:
        _write_summary(options, split, task, trainer, best, len(module.train_set), time.monotonic() - started)
    return Path(best.best_model_path)


def fastest_precision() -> str:
    """``bf16-mixed`` where it is faster on what Lightning would train on, else ``32-true``."""
    if torch.cuda.is_available():
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # AVX-512 has bfloat16 too, but with it an epoch takes longer than in single precision.
        bf16 = bool(torch.cpu.get_capabilities().get("amx_bf16"))
    return "bf16-mixed" if bf16 else "32-true"


def load_task(checkpoint: Path) -> ClassifierTask | SegmenterTask:
    """The trained task of a checkpoint, in evaluation mode.

    Raises:
        InvalidInput: the file is not a checkpoint of this package.
    """
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        name, stored = content["hyper_parameters"]["task"], content["hyper_parameters"]["options"]
    except Exception as error:
        raise InvalidInput(f"{checkpoint} is not a checkpoint of a training run ({type(error).__name__})") from error
    stored["network"]["weights"] = "random"
    options = TaskOptions.from_dict(stored)
    task = next(kind for kind in TASKS.values() if kind.__name__ == name)(options)
    network = {k.removeprefix("network."): v for k, v in content["state_dict"].items() if k.startswith("network.")}
    task.network.load_state_dict(network)
    return task.eval()


def read_summary(checkpoint: Path) -> dict[str, Any]:
    """Read the summary of the run that made a checkpoint.

    Raises:
        InvalidInput: there is none, or it does not tell the run's options, split and result.
    """
    path = checkpoint.with_name(SUMMARY)
    try:
        run: dict[str, Any] = json.loads(path.read_text("utf-8"))
        _ = run["options"]["fold"], run["options"]["task"]["network"]["weights"], run["best"], run["split_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path} is not the summary of a training run ({type(error).__name__})") from error
    return run


def _as_wide_as_shipped(options: RunOptions) -> RunOptions:
    network = replace(options.task.network, width=width_of(read_shipped(SEGMENTER)))
    return replace(options, task=replace(options.task, network=network))


def _refuse_seen(validation: tuple[str, ...]) -> None:
    """Refuse to validate on patients that the shipped networks have learned from.

    Raises:
        InvalidInput: there is one.
    """
    seen = trained_on(read_provenance(bundled_repository()), read_split())
    if known := sorted(set(validation) & seen):
        raise InvalidInput(
            f"the shipped networks have learned from {known[0]}, which is to validate: train on all development "
            "patients with --fold -1, or name a split of your own patients"
        )


def _refuse_another_fold(weights: Path, fold: int | None, split: Split) -> None:
    """Refuse to validate on patients that the run has learned from whose checkpoint is the start.

    Raises:
        InvalidInput: that run did not hold this fold out, or learned from another split.
    """
    if not weights.is_file() or not weights.with_name(SUMMARY).is_file():
        return
    earlier = read_summary(weights)
    if (earlier["split_sha256"], earlier["options"]["fold"]) != (split.digest, fold):
        raise InvalidInput(
            f"{weights} may have learned from patients who are to validate: start from a checkpoint of fold {fold} of "
            "the same split, or train on all development patients"
        )


def _task(options: RunOptions, validation: tuple[str, ...]) -> ClassifierTask | SegmenterTask:
    if options.network not in TASKS:
        raise InvalidInput(f"no network {options.network!r}: choose {' or '.join(TASKS)}")
    return TASKS[options.network](options.task, validation)


def _callbacks(options: RunOptions) -> list[Callback]:
    callbacks: list[Callback] = [_EpochLog(options.output / "metrics.csv")]
    if options.average:
        callbacks.append(EMAWeightAveraging(decay=options.average))
    if sys.stderr.isatty():
        callbacks.append(RichProgressBar())
    return callbacks


class _EpochLog(Callback):
    """One line an epoch, in the log and in ``metrics.csv``, which a resumed run continues."""

    def __init__(self, table: Path) -> None:
        self.table = table
        self.started = time.monotonic()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.is_global_zero and trainer.current_epoch == 0:
            self.table.parent.mkdir(parents=True, exist_ok=True)
            self.table.unlink(missing_ok=True)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # Asked for in every process: what is not joined yet is joined now.
        metrics = {key: float(value) for key, value in sorted(trainer.callback_metrics.items())}
        if not trainer.is_global_zero:
            return
        row = {"epoch": trainer.current_epoch, **metrics, "seconds": round(time.monotonic() - self.started, 1)}
        is_new = not self.table.exists()
        with self.table.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if is_new:
                writer.writeheader()
            writer.writerow(row)
        text = "  ".join(f"{key} {value:.4f}" for key, value in metrics.items())
        logger.info("epoch %d/%s: %s  (%.0f s)", row["epoch"] + 1, trainer.max_epochs, text, row["seconds"])


def _write_summary(
    options: RunOptions,
    split: Split,
    task: Task,
    trainer: lightning.Trainer,
    best: ModelCheckpoint,
    slices: int,
    seconds: float,
) -> None:
    score = best.best_model_score
    shipped = options.task.network.weights == SHIPPED
    summary = {
        "options": {**asdict(options), "output": options.output.name},
        "split_sha256": split.digest,
        "best": {"metric": task.monitor, "value": None if score is None else float(score)},
        "started_from": read_manifest(bundled_repository()).digests[task.served_name] if shipped else None,
        "slices": slices,
        "epochs": trainer.current_epoch,
        "seconds": round(seconds, 1),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "threads": torch.get_num_threads(),
    }
    write_whole(options.output / SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())
