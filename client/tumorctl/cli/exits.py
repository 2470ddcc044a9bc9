"""The one way out: errors to messages on stderr and exit statuses."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from enum import IntEnum
from typing import ParamSpec

import typer

from tumorctl.errors import TumorctlError

logger = logging.getLogger(__name__)

Parameters = ParamSpec("Parameters")


class Status(IntEnum):
    """Exit statuses of the contract; 1 is anything that it does not name, such as results that cannot be written."""

    done = 0
    failed = 1
    usage = 2
    some_inputs_failed = 3
    server = 4
    interrupted = 130


def exits(command: Callable[Parameters, Status | None]) -> Callable[Parameters, None]:
    """Make a command end with the status it returns, or with that of the error it raises."""

    @functools.wraps(command)
    def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            status = command(*args, **kwargs) or Status.done
        except TumorctlError as error:
            request = f" (request {error.request_id})" if error.request_id else ""
            typer.echo(f"error: {error}{request}", err=True)
            logger.debug("traceback", exc_info=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(Status.interrupted) from None
        raise typer.Exit(status)

    return guarded
