"""Optional parts: a failed import becomes an error that names the pip command, and what is unwanted stays out."""

from __future__ import annotations

import sys
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


@contextmanager
def left_out(package: str) -> Iterator[None]:
    """Import a library inside this block as if a package that it can do without were not installed.

    Args:
        package: what stays out; afterwards it can be imported as before.
    """
    loaded = {package: sys.modules[package]} if package in sys.modules else {}
    sys.modules[package] = None  # type: ignore[assignment]  # Python's own way to make an import fail
    try:
        yield
    finally:
        del sys.modules[package]
        sys.modules.update(loaded)
