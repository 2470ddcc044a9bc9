"""Optional parts: turn a failed import into an error that names the pip command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tumorctl.errors import MissingExtra


@contextmanager
def needs_extra(extra: str, purpose: str) -> Iterator[None]:
    """Import optional libraries inside this block.

    Args:
        extra: the extra that brings them.
        purpose: what needs them, as the start of a sentence: "the local engine".

    Raises:
        MissingExtra: a library is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "tumorctl":
            raise
        raise MissingExtra(extra, purpose) from error
