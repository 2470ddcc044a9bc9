"""Writing aside and renaming: a file is there whole, or not at all."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from tumorctl.errors import OutputError

_PARTIAL = ".partial"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SHIELD = "'"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, making its folder.

    Raises:
        OutputError: it could not be written; nothing is left behind.
    """
    aside = path.with_name(path.name + _PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(content)
        aside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise OutputError(f"{path.name} could not be written ({error.strerror})") from error


def shielded(cell: str) -> str:
    """A name or message as a cell that no spreadsheet takes for a formula: with ``'`` in front where one would."""
    return _SHIELD + cell if cell.lstrip(_SHIELD).startswith(_FORMULA) else cell


def unshielded(cell: str) -> str:
    """What was shielded."""
    return cell.removeprefix(_SHIELD) if cell.lstrip(_SHIELD).startswith(_FORMULA) else cell


class Table:
    """A CSV file that grows aside, row by row, and takes its place when it is finished.

    Args:
        path: where it ends up.
        columns: its header.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path, columns: Iterable[str]) -> None:
        self._path = path
        self._aside = path.with_name(path.name + _PARTIAL)
        try:
            # Names that are not valid Unicode are escaped, so that the table always is.
            self._file = self._aside.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        except OSError as error:
            raise self._failure(error) from error
        self._writer = csv.writer(self._file, lineterminator="\n")
        self.add(columns)

    def __enter__(self) -> Table:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def add(self, row: Iterable[str | int]) -> None:
        """Add a row.

        Raises:
            OutputError: it could not be written.
        """
        try:
            self._writer.writerow(row)
        except OSError as error:
            raise self._failure(error) from error

    def finish(self) -> None:
        """Put the table in its place.

        Raises:
            OutputError: it could not be written; nothing is left behind.
        """
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._aside.replace(self._path)
        except OSError as error:
            self.discard()
            raise self._failure(error) from error

    def discard(self) -> None:
        """Leave no trace of a table that was not finished."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._aside.unlink(missing_ok=True)

    def _failure(self, error: OSError) -> OutputError:
        return OutputError(f"{self._path} could not be written ({error.strerror})")
