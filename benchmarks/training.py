"""What makes training fast: each technique alone against a plain run, in seconds an epoch and in epochs to a figure.

    python benchmarks/training.py DATA --weights RESNET18 [--patients 24] [--epochs 5] [--only NAME ...] [--cache DIR]

Trains the classifier on some development patients of the committed split, two thirds to learn from and one third
to be judged by, in slice AUC. The plain run starts from ImageNet weights, in single precision, at a steady rate, with
rows of pixels channel by channel: from random weights, which is the second run, so few patients and epochs teach
nothing. Each other run changes one thing, and the last one changes all that `tumorctl train` does by default. Epochs
are counted until the AUC reaches the best of the plain run; a run that does not is marked.
DATA is the LGG set in the Kaggle layout; RESNET18 a file with ImageNet weights. Test patients are not looked at.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from machine import processor
from rich.console import Console
from rich.table import Table

from tumor_training.batches import LoaderOptions
from tumor_training.dataset import load
from tumor_training.run import RunOptions, fastest_precision, train
from tumor_training.splits import Split, read_split
from tumor_training.tasks import NetworkOptions, OptimizerOptions, TaskOptions

PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of an epoch (the median of all but the first) and the AUC after each."""

    seconds: float
    auc: tuple[float, ...]

    def epochs_to(self, target: float) -> int | None:
        """How many epochs the AUC took to reach a figure; None where it did not."""
        return next((epoch for epoch, auc in enumerate(self.auc, 1) if auc >= target), None)


def runs(output: Path, weights: str, epochs: int) -> dict[str, RunOptions]:
    """The plain run, that without transfer learning, each technique added to the plain one, and all together."""
    start = NetworkOptions(weights=weights)
    steady = OptimizerOptions(learning_rate=5e-4, one_cycle=False)
    plain = RunOptions(
        "classifier",
        output,
        task=TaskOptions(network=start, optimizer=steady),
        loader=LoaderOptions(batch_size=16),
        epochs=epochs,
        precision="32-true",
        channels_last=False,
        average=0,
    )
    return {
        PLAIN: plain,
        "without transfer learning": replace(plain, task=replace(plain.task, network=NetworkOptions())),
        "encoder frozen for an epoch": replace(
            plain, task=replace(plain.task, optimizer=replace(steady, frozen_epochs=1))
        ),
        "one-cycle rate": replace(plain, task=replace(plain.task, optimizer=replace(steady, one_cycle=True))),
        "averaged weights": replace(plain, average=0.99),
        "channels_last": replace(plain, channels_last=True),
        "torch.compile": replace(plain, compiled=True),
        "two processes": replace(plain, devices=2, loader=LoaderOptions(batch_size=8)),
        "bf16": replace(plain, precision="bf16-mixed"),
        "as by default": replace(
            plain,
            task=TaskOptions(network=start, optimizer=replace(steady, one_cycle=True)),
            precision=fastest_precision(),
            channels_last=True,
            average=0.99,
        ),
    }


def measure(name: str, output: Path, arguments: argparse.Namespace, cache: Path) -> Measured:
    """Train in a process of its own, which data-parallel training starts once more, and read the run's table."""
    command = [sys.executable, __file__, *sys.argv[1:], "--cache", str(cache), "--one", name, "--output", str(output)]
    subprocess.run(command, check=True, timeout=arguments.limit_s)
    with (output / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    seconds = sorted(float(row["seconds"]) for row in rows[1:] or rows)
    done = Measured(seconds[len(seconds) // 2], tuple(float(row["val/auc"]) for row in rows))
    print(name, done, file=sys.stderr, flush=True)
    return done


def decoding(data: Path, cache: Path) -> tuple[float, float]:
    """Seconds to decode all slices, and to map them from the cache."""
    times = []
    for where in (None, cache):
        started = time.perf_counter()
        load(data, where)
        times.append(time.perf_counter() - started)
    return times[0], times[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--patients", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[], help="names of runs beside the plain one")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--limit-s", type=float, default=7200, help="seconds that one run may take")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    patients = [patient for fold in zip(*read_split().folds, strict=True) for patient in fold][: arguments.patients]
    if arguments.one:
        split = Split(test=(), folds=(tuple(patients[::3]), tuple(p for i, p in enumerate(patients) if i % 3)))
        train(
            runs(arguments.output, arguments.weights, arguments.epochs)[arguments.one],
            arguments.data,
            split,
            arguments.cache,
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        cache = arguments.cache or Path(folder) / "cache"
        load(arguments.data, cache)
        decoded, mapped = decoding(arguments.data, cache)
        names = arguments.only or list(runs(Path(), arguments.weights, arguments.epochs))
        measured = {
            name: measure(name, Path(folder) / str(number), arguments, cache)
            for number, name in enumerate(dict.fromkeys((PLAIN, *names)))
        }
    plain = measured[PLAIN]
    target = max(plain.auc)
    needed = plain.epochs_to(target)
    assert needed is not None  # the target is its own
    table = Table(title=f"{len(patients)} patients; target AUC {target:.3f}", title_justify="left")
    table.add_column("run")
    for column in ("s an epoch", "ratio", "epochs to target", "ratio", "best AUC"):
        table.add_column(column, justify="right")
    for name, run in measured.items():
        epochs = run.epochs_to(target)
        table.add_row(
            name,
            f"{run.seconds:.1f}",
            f"{run.seconds / plain.seconds:.2f}",
            "not reached" if epochs is None else str(epochs),
            "" if epochs is None else f"{epochs / needed:.2f}",
            f"{max(run.auc):.3f}",
        )
    console = Console(width=110)
    console.print(table)
    console.print(f"all slices decoded in {decoded:.1f} s, mapped from the cache in {mapped:.2f} s", highlight=False)
    console.print(processor(), highlight=False)


if __name__ == "__main__":
    main()
