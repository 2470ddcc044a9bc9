"""`tumorctl`: the command and its parts. Heavy libraries are loaded by the command that needs them."""

from __future__ import annotations

import logging
import os
import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer

from tumorctl import __version__
from tumorctl.cli import doctor, predict, serve
from tumorctl.cli.terminal import settle_streams

_COMMANDS_GROUP = "tumorctl.commands"

app = typer.Typer(
    name="tumorctl",
    help="Find and outline brain tumours in MRI slices. Research use only; not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tumorctl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens, to stderr.")] = False,
) -> None:
    level = logging.DEBUG if verbose else logging.WARNING
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("tumorctl").setLevel(level)
    if not verbose:
        # gRPC's own log of failed connections; our errors say the same and what to do.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")


app.command("predict")(predict.predict)
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)


def _add_other_halves() -> None:
    """Add the commands of training and export; they load their libraries when they run."""
    for entry in sorted(entry_points(group=_COMMANDS_GROUP), key=lambda entry: entry.name):
        part = entry.load()
        if isinstance(part, typer.Typer):
            app.add_typer(part, name=entry.name)
        else:
            app.command(entry.name)(part)


def main() -> None:
    """Entry point of the console script."""
    settle_streams()
    _add_other_halves()
    app()
