"""Calls into DICOM libraries that neither print nor log nor raise what a header holds."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pydicom.config import disable_value_validation

from tumorctl.errors import TumorctlError

Result = TypeVar("Result")


def privately(do: Callable[[], Result], failure: Callable[[str], TumorctlError]) -> Result:
    """Do something with a header, whose values stay private.

    Args:
        do: what to do.
        failure: makes our error from the name of the library's. The library's error itself is not chained: its message
            may repeat a value, and a traceback would show it.

    Raises:
        TumorctlError: what `failure` made, or what `do` itself raised of ours.
    """
    with _quiet():
        try:
            return do()
        except TumorctlError:
            raise
        # A damaged header makes the libraries raise errors of any kind.
        except Exception as error:
            kind = type(error).__name__
    raise failure(kind)


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
