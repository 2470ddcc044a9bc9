"""`tumorctl export`. PyTorch, ONNX and TensorRT are loaded when a command runs."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer

from tumor_export.arithmetic import EnginePrecision
from tumorctl.cli.exits import Status, exits
from tumorctl.errors import InvalidOption
from tumorctl.extras import needs_extra

export = typer.Typer(help="Make what is served: ONNX networks, TensorRT engines.", no_args_is_help=True)


@export.command("networks")
@exits
def export_networks(
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
    second: Annotated[
        Path | None,
        typer.Option(
            metavar="SEGMENTER",
            help="Another segmenter for the mirrored look: a checkpoint, or a model repository that serves it.",
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

    Temperature, offset, gate and mask threshold are chosen on the validation patients. Each ONNX file is compared with
    its network on real slices; the export fails where they differ.
    """
    logging.getLogger("tumor_export").setLevel(logging.INFO)
    with needs_extra("export", "the export"):
        from tumor_export.export import export as export_checkpoints
        from tumor_export.repository import next_version
        from tumor_training.dataset import load
        from tumor_training.splits import read_split
    done = export_checkpoints(
        classifier,
        segmenter,
        load(data, cache),
        read_split(split),
        output,
        version=network_version or next_version(output),
        mirror=mirror,
        second=second,
        folds=folds or (),
    )
    chosen = done.calibration
    typer.echo(f"version {done.version} in {done.repository}")
    typer.echo(
        f"temperature {chosen.scale.temperature:.3f}, offset {chosen.scale.offset:.3f}, "
        f"gate threshold {chosen.gate_threshold:g}, "
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


@export.command("tensorrt")
@exits
def export_tensorrt(
    repository: Annotated[
        Path, typer.Option("--repository", "-r", metavar="DIR", help="Model repository to build engines for, and in.")
    ],
    precision: Annotated[EnginePrecision, typer.Option(help="Arithmetic of the engines.")] = EnginePrecision.fp16,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="Folder in the Kaggle layout: compare on its validation patients."),
    ] = None,
    phantoms: Annotated[bool, typer.Option("--phantoms", help="Compare on made-up brains instead of data.")] = False,
    split: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Split file; by default the committed LGG split.")
    ] = None,
    timing_cache: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep TensorRT's timings here: the next build is quicker.")
    ] = None,
    triton_release: Annotated[
        str | None, typer.Option(metavar="YY.MM", help="Release of the Triton image that will serve; checked.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest's entries as JSON.")] = False,
) -> Status:
    """Build TensorRT engines of a repository's networks for this machine's GPU.

    Run it in NVIDIA's TensorRT container of the same release as the Triton that will serve. Each engine is read back
    (do its layers compute in what was asked?) and compared with ONNX Runtime; nothing changes where one fails.
    """
    logging.getLogger("tumor_export").setLevel(logging.INFO)
    if phantoms == (data is not None):
        raise InvalidOption("slices to compare on: give either --data or --phantoms")
    if precision is EnginePrecision.int8 and data is None:
        raise InvalidOption("int8 needs real slices to calibrate on: give --data")
    with needs_extra("tensorrt", "building engines"):
        from tumor_export.engines.build import build_engines
        from tumor_export.engines.toolchain import find_toolchain
    from tumor_export.slices import slices_for

    toolchain = find_toolchain(triton_release)
    typer.echo(f"TensorRT {toolchain.tensorrt} on {toolchain.gpu.name}", err=True)
    images, calibration = slices_for(repository, data, split)
    made = build_engines(repository, toolchain, precision, images, calibration=calibration, timing_cache=timing_cache)
    if as_json:
        typer.echo(json.dumps({network: engine.to_dict() for network, engine in made.items()}))
        return Status.done
    for network, engine in made.items():
        layers = ", ".join(f"{count} in {name}" for name, count in engine.convolutions.items())
        typer.echo(
            f"{network}: {engine.path.name}, convolutions {layers}; on {engine.parity.slices} slices off by at most "
            f"{engine.parity.max_error:.2g}, masks agree with Dice {engine.parity.dice:.6f}; {engine.seconds:.0f} s"
        )
    return Status.done
