"""A bar on stderr for long work, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance = Callable[[], None]


@contextmanager
def progress() -> Iterator[Callable[[str, int], Advance]]:
    """Show how far work has come.

    Yields:
        A function that begins a step, given its name and how many parts it has, and returns what to call after each.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown) as bar:

        def begin(name: str, parts: int) -> Advance:
            task = bar.add_task(name, total=parts)
            return lambda: bar.advance(task)

        yield begin
