"""Which files under a path are slices, and which study each belongs to.

Every folder that holds slices is one study (the layout of the published Kaggle data set). Files that end in ``_mask``
are labels, not scans. Links to folders are not followed, so a cycle cannot trap the walk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tumorctl.errors import InvalidInput

SLICE_SUFFIXES = frozenset({".tif", ".tiff", ".png", ".jpg", ".jpeg"})
MASK_STEM_SUFFIX = "_mask"

_DIGITS = re.compile(r"(\d+)")
_TRAILING_NUMBER = re.compile(r"(\d{1,9})$")


@dataclass(frozen=True, slots=True)
class SliceFile:
    """One slice on disk.

    Attributes:
        path: the file.
        name: path relative to the PATH it was found under, with ``/``.
        study: the study's name, unique within one discovery.
        number: the slice's number in its study: the number its name ends in where all names of the folder end in
            different numbers, else its place in natural order, from 1.
    """

    path: Path
    name: str
    study: str
    number: int


@dataclass(frozen=True, slots=True)
class UnreadableFolder:
    """A folder that could not be listed.

    Attributes:
        name: path relative to the PATH it was found under, with ``/``.
        reason: what the operating system said.
    """

    name: str
    reason: str


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key under which ``s_2`` comes before ``s_10``."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in _DIGITS.split(name) if part)


def is_slice(name: str) -> bool:
    """Whether a file name is that of a slice: a known suffix, not a mask, not hidden."""
    path = PurePosixPath(name)
    hidden_or_mask = name.startswith(".") or path.stem.endswith(MASK_STEM_SUFFIX)
    return path.suffix.lower() in SLICE_SUFFIXES and not hidden_or_mask


def mask_path(slice_path: Path) -> Path:
    """Where the Kaggle layout keeps the label of a slice."""
    return slice_path.with_name(f"{slice_path.stem}{MASK_STEM_SUFFIX}{slice_path.suffix}")


def discover(paths: Iterable[Path], *, skip: Path | None = None) -> Iterator[SliceFile | UnreadableFolder]:
    """Find the slices under files and folders, study by study, each in natural order.

    Args:
        paths: files or folders. A file is taken whatever its name; folders are searched to the bottom.
        skip: a folder that is not searched, such as the one that results are written to.

    Yields:
        One `SliceFile` per slice and one `UnreadableFolder` per folder that could not be listed.

    Raises:
        InvalidInput: a path does not exist.
    """
    roots = list(paths)
    for root in roots:
        if not os.path.lexists(root):
            raise InvalidInput(f"{root} does not exist")
    names = UniqueNames()
    loose: dict[Path, list[Path]] = {}
    for root in roots:
        if root.is_dir():
            yield from _walk(root, names, skip.resolve() if skip else None)
        else:
            loose.setdefault(root.absolute().parent, []).append(root)
    for folder, files in loose.items():
        yield from _study(names.take(folder.name or "study"), {file.name: file for file in files}, prefix="")


def _walk(root: Path, names: UniqueNames, skip: Path | None) -> Iterator[SliceFile | UnreadableFolder]:
    pending = [PurePosixPath()]
    while pending:
        relative = pending.pop()
        folder = root / relative
        if skip is not None and folder.resolve() == skip:
            continue
        try:
            with os.scandir(folder) as listing:
                entries = list(listing)
        except OSError as error:
            yield UnreadableFolder(str(relative), error.strerror or type(error).__name__)
            continue
        files = {entry.name: Path(entry.path) for entry in entries if is_slice(entry.name) and not entry.is_dir()}
        if files:
            study = str(relative) if relative.parts else root.absolute().name or "study"
            yield from _study(names.take(study), files, prefix=f"{relative}/" if relative.parts else "")
        folders = [e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")]
        pending += [relative / name for name in sorted(folders, key=natural_key, reverse=True)]


def _study(study: str, files: dict[str, Path], *, prefix: str) -> Iterator[SliceFile]:
    ordered = sorted(files, key=natural_key)
    matches = [_TRAILING_NUMBER.search(PurePosixPath(name).stem) for name in ordered]
    numbers = [int(match.group()) for match in matches if match]
    if len(numbers) < len(ordered) or len(set(numbers)) < len(numbers):
        numbers = list(range(1, len(ordered) + 1))
    for name, number in zip(ordered, numbers, strict=True):
        yield SliceFile(path=files[name], name=prefix + name, study=study, number=number)


class UniqueNames:
    """Hands out study names, adding ``-2``, ``-3`` ... to one that is taken.

    Args:
        taken: names that are taken already.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def take(self, name: str) -> str:
        """The name, or one like it that was free; taken from now on."""
        unique, count = name, 1
        while unique in self._taken:
            count += 1
            unique = f"{name}-{count}"
        self._taken.add(unique)
        return unique
