"""The one way out: errors to messages on stderr and exit statuses."""

from __future__ import annotations

import errno
import functools
import logging
import os
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import ParamSpec

import typer

from tumorctl.cli.terminal import printable
from tumorctl.errors import TumorctlError

logger = logging.getLogger(__name__)

_BEHIND_STDOUT = (errno.ENOSPC, errno.EIO, errno.EBADF)
"""A full disk or a closed file that stdout leads to; Typer knows about closed pipes."""

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
            sys.stdout.flush()
        except TumorctlError as error:
            request = f" (request {error.request_id})" if error.request_id else ""
            typer.echo(f"error: {printable(str(error))}{request}", err=True)
            logger.debug("traceback", exc_info=True)
            raise typer.Exit(error.exit_code) from error
        except OSError as error:
            if error.filename is not None or error.errno not in _BEHIND_STDOUT:
                raise
            # Files have typed errors of their own.
            _let_go_of_stdout()
            typer.echo(f"error: the output could not be printed ({error.strerror})", err=True)
            raise typer.Exit(Status.failed) from error
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(Status.interrupted) from None
        raise typer.Exit(status)

    return guarded


def _let_go_of_stdout() -> None:
    """Have the interpreter not try again, with a traceback, when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
