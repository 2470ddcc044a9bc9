"""Calls into DICOM libraries that neither print nor log nor raise what a header holds."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from pydicom.config import disable_value_validation

from tumorctl.errors import TumorctlError

Result = TypeVar("Result")

_LOGGERS: Final = ("pydicom", "highdicom")


def privately(do: Callable[[], Result], failure: Callable[[str], TumorctlError]) -> Result:
    """Do something with a header, whose values stay private.

    Args:
        do: what to do.
        failure: makes our error from the name of the library's. The library's error itself is not chained: its message
            may repeat a value, and a traceback would show it.

    Raises:
        TumorctlError: what `failure` made, or what `do` itself raised of ours.
    """
    with quietly(), disable_value_validation():
        try:
            return do()
        except TumorctlError:
            raise
        # A damaged header makes the libraries raise errors of any kind.
        except Exception as error:
            kind = type(error).__name__
    raise failure(kind)


@contextmanager
def quietly() -> Iterator[None]:
    """Let the libraries neither log nor warn: what they say repeats values, names and UIDs among them."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
