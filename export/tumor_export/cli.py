"""`tumorctl export`. PyTorch and ONNX are loaded when the command runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from tumorctl.cli.exits import Status, exits
from tumorctl.extras import needs_extra


@exits
def export(
    classifier: Annotated[Path, typer.Argument(metavar="CLASSIFIER", help="Checkpoint of a classifier's run.")],
    segmenter: Annotated[Path, typer.Argument(metavar="SEGMENTER", help="Checkpoint of a segmenter's run.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder in the Kaggle layout.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Model repository to write to.")],
    network_version: Annotated[
        int | None, typer.Option(min=1, help="Version of the networks; by default the one after the newest.")
    ] = None,
    folds: Annotated[
        list[Path] | None,
        typer.Option(
            "--fold",
            metavar="DIR",
            help="For networks trained on all development patients: a folder with the runs classifier/ and segmenter/ "
            "of one fold, whose validation patients calibrate. Once for each fold.",
        ),
    ] = None,
    mirror: Annotated[
        bool, typer.Option(help="Let the segmenter look at each slice twice, once mirrored: better, and half as fast.")
    ] = True,
    split: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Split file; by default the committed LGG split.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep decoded slices here between runs.")] = None,
) -> Status:
    """Turn two trained networks into a model repository.

    Temperature, gate and mask threshold are chosen on the validation patients. Each ONNX file is compared with its
    network on real slices; the export fails where they differ.
    """
    logging.getLogger("tumor_export").setLevel(logging.INFO)
    with needs_extra("export", "the export"):
        from tumor_export.export import export as export_networks
        from tumor_export.repository import next_version
        from tumor_training.dataset import load
        from tumor_training.splits import read_split
    done = export_networks(
        classifier,
        segmenter,
        load(data, cache),
        read_split(split),
        output,
        version=network_version or next_version(output),
        mirror=mirror,
        folds=[(folder / "classifier" / "best.ckpt", folder / "segmenter" / "best.ckpt") for folder in folds or ()],
    )
    chosen = done.calibration
    typer.echo(f"version {done.version} in {done.repository}")
    typer.echo(
        f"temperature {chosen.temperature:.3f}, gate threshold {chosen.gate_threshold:g}, "
        f"mask threshold {chosen.mask_threshold:g}"
    )
    for name, value in chosen.metrics.items():
        typer.echo(f"validation {name}: {value:.4f}")
    for name, parity in done.parity.items():
        weights = "half" if done.half_weights[name] else "full"
        typer.echo(
            f"{name}: {weights} precision weights; on {parity.slices} slices off by at most {parity.max_error:.2g}, "
            f"masks agree with Dice {parity.dice:.6f}"
        )
    return Status.done
