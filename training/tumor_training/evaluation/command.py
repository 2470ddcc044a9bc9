"""`tumorctl evaluate` and `tumorctl card`."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from tumor_training.arguments import PURPOSE, AsJson, DataFolder, SplitFile
from tumorctl.cli.connection import Server, takes_server
from tumorctl.cli.exits import Status, exits
from tumorctl.extras import needs_extra
from tumorctl.types import ClientOptions, Precision


class PartName(str, Enum):
    """Whom to judge on."""

    validation = "validation"
    test = "test"
    all = "all"


class SequenceName(str, Enum):
    """Sequences that may be missing."""

    t1_pre = "t1-pre"
    t1_post = "t1-post"


@exits
@takes_server
def evaluate(
    data: DataFolder,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for predictions and figures.")],
    part: Annotated[
        PartName, typer.Option(help="Whom to judge on: a part of the split, or every patient in DATA.")
    ] = PartName.validation,
    fold: Annotated[
        int | None, typer.Option(help="Fold that validates; by default the one of the networks.", show_default=False)
    ] = None,
    split: SplitFile = None,
    replace: Annotated[
        list[SequenceName] | None,
        typer.Option(help="Replace a sequence by the FLAIR, as where it was not acquired. May be repeated."),
    ] = None,
    spacing_mm: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="ROW COLUMN", help="Distance of rows and of columns, for distances in mm."),
    ] = None,
    slice_spacing_mm: Annotated[
        float | None, typer.Option(help="Distance of slices, for distances in three dimensions.")
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="Pictures of that many of the worst patients.")] = 5,
    resamples: Annotated[int, typer.Option(min=0, help="Draws of patients for the intervals; 0 for none.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same intervals.")] = 0,
    allow_training_patients: Annotated[
        bool, typer.Option("--allow-training-patients", help="Judge patients too that trained the networks.")
    ] = False,
    precision: Annotated[Precision | None, typer.Option(help="Arithmetic of the local engine.")] = None,
    as_json: AsJson = False,
    *,
    server: Server,
) -> Status:
    """Judge the shipped networks, gate included, on labelled patients.

    Writes metrics.json, plots/, pictures of the worst patients and all that `tumorctl predict` writes to DIR. Look at
    test patients only when everything has been chosen. Patients that trained the networks are refused.

    Exit status: 0 all done, 1 the networks cannot be used or results cannot be written, 2 wrong usage, 3 done but some
    slices failed, 4 the server cannot be reached or refused, 130 interrupted.
    """
    from tumorctl.errors import InvalidOption

    with needs_extra("train", PURPOSE):
        from tumor_training.evaluation.cohort import Spacing
        from tumor_training.evaluation.intervals import BootstrapOptions
        from tumor_training.evaluation.patients import Part
        from tumor_training.evaluation.progress import progress
        from tumor_training.evaluation.replacement import Replaceable
        from tumor_training.evaluation.report import show
        from tumor_training.evaluation.run import EvaluationOptions
        from tumor_training.evaluation.run import evaluate as evaluate_networks
        from tumor_training.splits import read_split

    if spacing_mm is None and slice_spacing_mm is not None:
        raise InvalidOption("--slice-spacing-mm goes with --spacing-mm")
    options = EvaluationOptions(
        output=output,
        part=Part(part.value),
        fold=fold,
        allow_training=allow_training_patients,
        replaced=tuple(dict.fromkeys(Replaceable(sequence.value) for sequence in replace or ())),
        spacing=None if spacing_mm is None else Spacing(*spacing_mm, slice_spacing_mm),
        bootstrap=BootstrapOptions(resamples, seed),
        worst=worst,
    )
    with progress() as begin:
        metrics = evaluate_networks(
            data,
            read_split(split),
            options,
            url=server.url,
            client_options=ClientOptions(precision=precision),
            connection=server.connection,
            begin=begin,
        )
    if as_json:
        typer.echo(json.dumps(metrics))
    else:
        show(metrics, str(output), worst)
    return Status.some_inputs_failed if metrics["failed_slices"] else Status.done


@exits
def card(
    metrics: Annotated[
        Path, typer.Argument(metavar="METRICS", help="metrics.json of `tumorctl evaluate --part test`.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Model card to write, Markdown.")],
    replaced: Annotated[
        list[Path] | None,
        typer.Option(metavar="METRICS", help="The same of a run with --replace, to compare. May be repeated."),
    ] = None,
    model_repository: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The networks; by default the ones that came along.")
    ] = None,
    split: SplitFile = None,
) -> Status:
    """Write the model card of the networks from their manifest, their split and their figures on test patients.

    Refused where a patient trained and judges, or where the figures are of other networks or other patients.
    """
    from tumorctl.config import resolve

    with needs_extra("train", PURPOSE):
        from tumor_training.evaluation.card import read_metrics, write_card
        from tumor_training.evaluation.provenance import read_provenance
        from tumor_training.splits import read_split

    repository = model_repository or resolve(None, ClientOptions()).model_repository
    write_card(
        output,
        read_provenance(repository),
        read_split(split),
        read_metrics(metrics),
        [read_metrics(path) for path in replaced or ()],
    )
    typer.echo(f"model card: {output}")
    return Status.done
