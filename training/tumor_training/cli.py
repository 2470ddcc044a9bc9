"""`tumorctl data`, `train`, `evaluate` and `card`. PyTorch is loaded when a command runs."""

from __future__ import annotations

import json
import logging
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tumor_training.arguments import PURPOSE, AsJson, DataFolder, SplitFile
from tumor_training.evaluation.command import card, evaluate
from tumorctl.cli.exits import Status, exits
from tumorctl.extras import needs_extra

if TYPE_CHECKING:
    from tumor_training.dataset import Verification

__all__ = ["card", "data_app", "evaluate", "train"]

data_app = typer.Typer(help="Check a data set, split it by patient.", no_args_is_help=True)


class NetworkName(str, Enum):
    """The two networks."""

    classifier = "classifier"
    segmenter = "segmenter"


class TrainingPrecision(str, Enum):
    """Mixed precision computes fast and keeps weights in float32; 16-mixed needs a GPU."""

    auto = "auto"
    bf16_mixed = "bf16-mixed"
    fp16_mixed = "16-mixed"
    fp32 = "32-true"


@data_app.command("verify")
@exits
def verify(data: DataFolder, as_json: AsJson = False) -> Status:
    """Count patients, slices and positives; list unreadable, missing and mismatched files.

    Exit status: 0 when all is well, 3 when anything is wrong with the data.
    """
    with needs_extra("train", PURPOSE):
        from tumor_training.dataset import verify as verify_data

        found = verify_data(data)
    if as_json:
        content = {
            "patients": len(found.patients),
            "slices": found.slices,
            "positive": found.positive,
            "problems": [{"name": problem.name, "reason": problem.reason} for problem in found.problems],
        }
        typer.echo(json.dumps(content))
    else:
        _show_verification(found)
    return Status.some_inputs_failed if found.problems else Status.done


def _show_verification(found: Verification) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from tumor_training.splits import site_of

    table = Table(title="By site", title_justify="left")
    for column in ("site", "patients", "slices", "with tumour"):
        table.add_column(column, justify="left" if column == "site" else "right")
    for site in sorted({site_of(patient) for patient in found.patients}):
        counts = [count for patient, count in found.patients.items() if site_of(patient) == site]
        table.add_row(
            site or "(none)", str(len(counts)), str(sum(c.slices for c in counts)), str(sum(c.positive for c in counts))
        )
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print(
        f"{len(found.patients)} patients, {found.slices} slices, {found.positive} with tumour, "
        f"{len(found.problems)} problems",
        highlight=False,
    )
    for problem in found.problems:
        console.print(f"  {escape(problem.name)}: {escape(problem.reason)}", highlight=False, soft_wrap=True)


@data_app.command("split")
@exits
def split(
    data: DataFolder,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Split file to write.")],
    test: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Patients that only judge, one a line; none without it.")
    ] = None,
    folds: Annotated[int, typer.Option(help="Parts of the other patients, of which one validates.")] = 5,
    seed: Annotated[int, typer.Option(help="The same seed gives the same split.")] = 0,
) -> Status:
    """Split patients, stratified by site; slices of a patient are never separated."""
    from tumor_training.splits import make_split, site_of
    from tumorctl.errors import InvalidInput
    from tumorctl.io.discovery import SliceFile, discover
    from tumorctl.outputs.files import write_whole

    try:
        judges = test.read_text("utf-8").split() if test else []
    except OSError as error:
        raise InvalidInput(f"{test} cannot be read ({error.strerror})") from error
    patients = {item.study for item in discover([data]) if isinstance(item, SliceFile)}
    made = make_split(patients, judges, folds=folds, seed=seed)
    write_whole(output, made.to_json().encode())
    sites = len({site_of(patient) for patient in patients})
    typer.echo(
        f"{len(made.test)} test patients, {len(made.development)} others in {folds} folds, {sites} sites: {output}"
    )
    return Status.done


def _size(text: str | None) -> tuple[int, int] | None:
    """Rows and columns from "224x192".

    Raises:
        typer.BadParameter: it is something else.
    """
    if text is None:
        return None
    rows, found, columns = text.partition("x")
    if not (found and rows.isdecimal() and columns.isdecimal()):
        raise typer.BadParameter(f"{text!r}: give rows and columns, such as 224x192", param_hint="--crop")
    return int(rows), int(columns)


@exits
def train(
    network: Annotated[NetworkName, typer.Argument(help="Which network.")],
    data: DataFolder,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the run.")],
    depth: Annotated[int, typer.Option(help="Layers of the ResNet: 18, 34, 50, 101 or 152.")] = 18,
    weights: Annotated[
        str,
        typer.Option(
            metavar="imagenet|shipped|random|FILE",
            help="Start: torchvision's ImageNet weights, the network that tumorctl ships, random, a .safetensors file, "
            "or a checkpoint of either network, whose ResNet is taken.",
        ),
    ] = "imagenet",
    width: Annotated[
        int,
        typer.Option(
            help="Segmenter: channels of the first step of its expansive path, a multiple of 16; the shipped one keeps "
            "its own."
        ),
    ] = 256,
    epochs: Annotated[int, typer.Option(min=1, help="Length of the run.")] = 20,
    batch_size: Annotated[int, typer.Option(min=1, help="Slices in a step.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Highest, of the one-cycle schedule.")] = 1e-3,
    frozen_epochs: Annotated[
        int, typer.Option(min=0, help="Epochs at the start in which the encoder's weights stay as they are.")
    ] = 0,
    negative_share: Annotated[
        float | None,
        typer.Option(help="Slices without tumour seen in an epoch: classifier 1, segmenter 0.33 by default."),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="ROWSxCOLUMNS", help="Train on cutouts of this size, multiples of 32 pixels, not on whole slices."
        ),
    ] = None,
    slice_dice: Annotated[
        float, typer.Option(min=0, max=1, help="Segmenter: part of the Dice loss that is taken slice by slice.")
    ] = 0.0,
    fold: Annotated[int, typer.Option(min=-1, help="Fold that validates; -1 trains on all development patients.")] = 0,
    split: SplitFile = None,
    cache: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep decoded slices here between runs.")] = None,
    validate_every: Annotated[int, typer.Option(min=1, help="Epochs between looks at the validation patients.")] = 1,
    precision: Annotated[
        TrainingPrecision,
        typer.Option(
            help="Arithmetic, as Lightning names it; auto is bf16-mixed where it is faster: on GPUs and with AMX."
        ),
    ] = TrainingPrecision.auto,
    compiled: Annotated[bool, typer.Option("--compile", help="Train through torch.compile.")] = False,
    average: Annotated[float, typer.Option(help="Decay of the moving average of the weights; 0 for none.")] = 0.99,
    workers: Annotated[int, typer.Option(help="Loader processes.")] = 0,
    devices: Annotated[int, typer.Option(min=1, help="Processes (GPUs, or on the processor) on this machine.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines, each started by torchrun.")] = 1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same run.")] = 0,
    resume: Annotated[bool, typer.Option(help="Continue from the run's last checkpoint, where there is one.")] = True,
) -> Status:
    """Train a network by transfer learning; validation patients choose the checkpoint.

    Test patients of the split are never used. The run's folder holds best.ckpt, last.ckpt, metrics.csv and run.json.
    """
    logging.getLogger("tumor_training").setLevel(logging.INFO)
    with needs_extra("train", PURPOSE):
        from lightning.pytorch.utilities import rank_zero_only

        from tumor_training.batches import LoaderOptions
        from tumor_training.run import RunOptions
        from tumor_training.run import train as train_network
        from tumor_training.splits import read_split
        from tumor_training.tasks import NetworkOptions, OptimizerOptions, TaskOptions
        from tumor_training.transforms import AugmentOptions
    # What matters of it stands in a line of our own; the rest is hints and advertisements, each printed twice.
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    default_share = 1.0 if network is NetworkName.classifier else 0.33
    options = RunOptions(
        network=network.value,
        output=output,
        task=TaskOptions(
            network=NetworkOptions(depth=depth, weights=weights, width=width),
            optimizer=OptimizerOptions(learning_rate=learning_rate, frozen_epochs=frozen_epochs),
            augment=AugmentOptions(crop=_size(crop)),
            slice_dice=slice_dice,
            seed=seed,
        ),
        loader=LoaderOptions(
            batch_size=batch_size,
            negative_share=default_share if negative_share is None else negative_share,
            workers=workers,
        ),
        fold=None if fold < 0 else fold,
        epochs=epochs,
        validate_every=validate_every,
        precision=precision.value,
        compiled=compiled,
        average=average,
        devices=devices,
        nodes=nodes,
        resume=resume,
    )
    best = train_network(options, data, read_split(split), cache)
    rank_zero_only(typer.echo)(f"checkpoint: {best}")
    return Status.done
