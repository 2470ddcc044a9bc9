"""`tumorctl predict`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tumorctl.cli.connection import Server, takes_server
from tumorctl.cli.exits import Status, exits
from tumorctl.cli.terminal import printable_name
from tumorctl.types import ClientOptions, Precision

if TYPE_CHECKING:
    from rich.console import Console

    from tumorctl.outputs.results import SliceRow, StudyRow

_STUDIES_SHOWN = 20


@exits
@takes_server
def predict(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Slices (TIFF, PNG, JPEG), whole studies (NIfTI, DICOM, zip) or folders of them; each folder of "
            "slices is a study.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")],
    gate_threshold: Annotated[
        float | None,
        typer.Option(help="Probability from which a slice is outlined, 0 to 1; by default the networks' own."),
    ] = None,
    precision: Annotated[Precision | None, typer.Option(help="Arithmetic of the local engine.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Slices computed together, 1 to 64.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds that one batch may take.")] = None,
    overlays: Annotated[bool, typer.Option(help="Draw the outlines over the FLAIR.")] = True,
    islands: Annotated[
        bool, typer.Option(help="Keep small islands of tumour apart from the main one, which are mostly mistakes.")
    ] = False,
    flair: Annotated[
        str | None, typer.Option(help="Which file or series of the one study is the FLAIR.", metavar="NAME")
    ] = None,
    t1_pre: Annotated[
        str | None, typer.Option(help="Likewise the T1-weighted one before contrast.", metavar="NAME")
    ] = None,
    t1_post: Annotated[
        str | None, typer.Option(help="Likewise the T1-weighted one after contrast.", metavar="NAME")
    ] = None,
    dicom: Annotated[
        bool, typer.Option(help="Write DICOM results (segmentation, report, overlay) for studies in DICOM.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON instead of a table.")] = False,
    *,
    server: Server,
) -> Status:
    """Find and outline tumours in slices, and in whole studies in NIfTI or DICOM.

    Writes predictions.csv, studies.csv, masks/, overlays/, studies/ and run.json to DIR. Research use only.

    Exit status: 0 all done, 1 the networks cannot be used or tables cannot be written, 2 wrong usage, 3 done but some
    inputs failed, 4 the server cannot be reached or refused, 130 interrupted.
    """
    import warnings

    from tumorctl.batch import BatchOptions, predict_folders
    from tumorctl.client import TumorClient
    from tumorctl.core.components import MAIN_SHARE
    from tumorctl.errors import InvalidInput
    from tumorctl.io.discovery import must_be_there
    from tumorctl.studies import roles_named

    # Damaged and oversized slices get a row of their own; Pillow's warnings about them would be noise.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    for path in paths:
        must_be_there(path)
    if os.path.realpath(output) in map(os.path.realpath, paths):
        raise InvalidInput(
            f"{output} is to be read and to hold the results, which are never read: choose another folder"
        )
    options = ClientOptions(
        gate_threshold=gate_threshold, batch_size=batch_size, timeout_s=timeout, precision=precision
    )
    studies: list[StudyRow] = []
    with (
        TumorClient(server.url, options=options, connection=server.connection) as client,
        _Progress(sys.stderr.isatty()) as progress,
        _stop_on_signal() as stop,
    ):
        run = predict_folders(
            client,
            paths,
            BatchOptions(
                output=output,
                overlays=overlays,
                main_share=0 if islands else MAIN_SHARE,
                named=roles_named({"flair": flair, "t1_pre": t1_pre, "t1_post": t1_post}),
                dicom=dicom,
            ),
            on_slice=progress.advance,
            on_study=lambda study: studies.append(study) if len(studies) < _STUDIES_SHOWN else None,
            stop=stop,
        )
    if as_json:
        typer.echo(json.dumps({**run, "output": str(output)}))
    else:
        _show(run, studies, output)
    if run["status"] == "interrupted":
        raise KeyboardInterrupt
    if run["counts"]["slices"] == 0 and not run["counts"]["failed"]:
        raise InvalidInput(
            "no slices or studies found: expected TIFF, PNG, JPEG, NIfTI or DICOM files in the folders named"
        )
    return Status.some_inputs_failed if run["counts"]["failed"] else Status.done


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """On the first SIGINT or SIGTERM, finish what is at work, so that tables and masks agree; on a second, leave."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()
        for each in before:
            signal.signal(each, signal.default_int_handler)
        typer.echo("stopping: finishing the slices at work; once more to leave at once", err=True)

    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Progress:
    """A count of slices on stderr, on a terminal only."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown

    def __enter__(self) -> _Progress:
        if self._shown:
            from rich.console import Console
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.completed:.0f} slices"),
                TextColumn("{task.fields[study]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("", total=None, study="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._bar.stop()

    def advance(self, row: SliceRow) -> None:
        if self._shown:
            self._bar.update(self._task, advance=1, study=printable_name(row.study))


def _show(run: dict[str, Any], studies: list[StudyRow], output: Path) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    counts = run["counts"]
    table = Table(title="Studies", title_justify="left")
    table.add_column("study", overflow="fold")
    for column in ("slices", "with tumour", "probability", "largest area, px"):
        table.add_column(column, justify="right")
    table.add_column("error", overflow="fold")
    warned = [row for row in studies if row.warnings]
    if warned:
        table.add_column("warnings", justify="right")
    for row in studies:
        probability = "" if row.tumor_probability is None else f"{row.tumor_probability:.3f}"
        area = str(row.largest_area_px) if row.tumor_slices else ""
        cells = [row.study, str(row.slices), str(row.tumor_slices), probability, area, row.error]
        if warned:
            cells.append(str(len(row.warnings) or ""))
        table.add_row(*(escape(printable_name(cell)) for cell in cells))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    if counts["studies"] > len(studies):
        console.print(f"... and {counts['studies'] - len(studies)} more studies in studies.csv")
    _show_warnings(console, warned, len(run["warnings"]))
    rate = run["timings"]["slices_per_second"]
    console.print(
        f"{counts['slices']} slices, {counts['tumor_slices']} with tumour, {counts['failed']} failed; "
        f"{rate} slices/s ({run['engine']['engine']}, {run['engine']['target']})",
        highlight=False,
    )
    console.print(f"Results in {escape(printable_name(str(output)))}. {run['notice']}", highlight=False, soft_wrap=True)


def _show_warnings(console: Console, warned: list[StudyRow], studies: int) -> None:
    from rich.markup import escape
    from rich.table import Table

    if studies:
        console.print(f"Warnings of {studies} {'study' if studies == 1 else 'studies'}:", highlight=False)
    for row in warned:
        console.print(f"  [yellow]{escape(printable_name(row.study))}[/yellow]", highlight=False)
        indented = Table.grid("", "", padding=(0, 1))
        for warning in row.warnings:
            indented.add_row("   -", escape(printable_name(warning)))
        console.print(indented, highlight=False)
    if studies > len(warned):
        console.print(f"... those of {studies - len(warned)} more are in run.json", highlight=False)
