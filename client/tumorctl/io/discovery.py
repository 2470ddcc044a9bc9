"""Which files under a path are slices, and which study each belongs to.

Every folder that holds slices is one study (the layout of the published Kaggle data set). Files that end in ``_mask``
are labels, not scans. Links to folders are not followed, so a cycle cannot trap the walk.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that was listed.

    Attributes:
        place: where it is.
        relative: path relative to the PATH it was found under.
        name: the same, or the PATH's own name for the PATH itself.
        files: all but folders, in natural order; links to folders are among them.
        problem: why it could not be listed, as the operating system said; empty if it could.
    """

    place: Path
    relative: PurePosixPath
    name: str
    files: list[os.DirEntry[str]] = field(default_factory=list)
    problem: str = ""


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
        InvalidInput: a path does not exist or cannot be reached.
    """
    roots = list(paths)
    for root in roots:
        must_be_there(root)
    names = UniqueNames()
    loose: dict[Path, list[Path]] = {}
    for root in roots:
        if root.is_dir():
            yield from _slices_under(root, names, skip)
        else:
            loose.setdefault(root.absolute().parent, []).append(root)
    for folder, files in loose.items():
        yield from _study(names.take(folder.name or "study"), {file.name: file for file in files}, prefix="")


def must_be_there(root: Path) -> None:
    """Tell early that a path that the caller named leads nowhere; a link that does is left to who opens it.

    Raises:
        InvalidInput: it does not exist, is a folder that is closed, or a folder on the way to it is.
    """
    try:
        if stat.S_ISDIR(root.stat().st_mode):
            os.scandir(root).close()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        if not os.path.lexists(root):
            raise InvalidInput(f"{root} does not exist") from None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise InvalidInput(f"{root} cannot be opened ({error.strerror or type(error).__name__})") from None


def walk(root: Path, *, skip: Path | None = None) -> Iterator[Folder]:
    """List a folder and those under it, each before those in it. Hidden folders and links to folders are not followed.

    Args:
        root: where to begin.
        skip: a folder that is not listed, such as the one that results are written to.
    """
    # Path.resolve raises where links lead in a circle.
    skipped = os.path.realpath(skip) if skip else None
    pending = [PurePosixPath()]
    while pending:
        relative = pending.pop()
        place = root / relative
        if skipped is not None and os.path.realpath(place) == skipped:
            continue
        name = str(relative) if relative.parts else root.absolute().name or "study"
        try:
            with os.scandir(place) as listing:
                entries = sorted(listing, key=lambda entry: natural_key(entry.name))
        except OSError as error:
            yield Folder(place, relative, name, problem=error.strerror or type(error).__name__)
            continue
        folders = [entry.name for entry in entries if _is_folder(entry, follow_links=False)]
        yield Folder(place, relative, name, [each for each in entries if not _is_folder(each, follow_links=False)])
        pending += [relative / each for each in reversed(folders) if not each.startswith(".")]


def _slices_under(root: Path, names: UniqueNames, skip: Path | None) -> Iterator[SliceFile | UnreadableFolder]:
    for folder in walk(root, skip=skip):
        if folder.problem:
            yield UnreadableFolder(str(folder.relative), folder.problem)
            continue
        files = {
            entry.name: Path(entry.path) for entry in folder.files if is_slice(entry.name) and not _is_folder(entry)
        }
        if files:
            prefix = f"{folder.relative}/" if folder.relative.parts else ""
            yield from _study(names.take(folder.name), files, prefix=prefix)


def _is_folder(entry: os.DirEntry[str], *, follow_links: bool = True) -> bool:
    """Whether an entry is a folder; one that cannot be looked at, as in a closed folder, counts as a file."""
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError:
        return False


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
