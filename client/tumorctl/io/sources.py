"""Which studies lie under files and folders, in NIfTI, DICOM or zip files, and reading them one by one.

A folder's NIfTI files are one study, or several where their names say so. DICOM files are put together by what their
headers say, wherever they lie under one PATH. What is meant as a study by its name, or cannot be looked at for lack of
permission, is not passed over: it is a source with an error.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from tumorctl.errors import InvalidInput, InvalidOption, NoSuchSeries, TumorctlError, UnreadableStudy, UnusableArchive
from tumorctl.extras import needs_extra
from tumorctl.io.archives import unpacked
from tumorctl.io.dicom.sniffing import looks_like_dicom
from tumorctl.io.discovery import SLICE_SUFFIXES, Folder, is_slice, must_be_there, walk
from tumorctl.io.series import StudyFailure, StudyInput
from tumorctl.types import SeriesRole

NIFTI_SUFFIXES = (".nii", ".nii.gz")
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_PAIR_SUFFIX = re.compile(r"\.(hdr|img)(\.gz)?$")
_NO_STUDIES = (
    *SLICE_SUFFIXES,
    ".txt",
    ".csv",
    ".tsv",
    ".json",
    ".xml",
    ".html",
    ".md",
    ".pdf",
    ".log",
    ".bval",
    ".bvec",
)
"""Files of these kinds are passed over, even where they cannot be opened."""
_EARLIER_RESULTS = frozenset({"seg.dcm", "sr.dcm", "overlay.dcm", "mask.nii.gz"})


class Format(str, Enum):
    """What a study is stored as."""

    nifti = "NIfTI"
    pair = "pair of .hdr and .img"
    dicom = "DICOM"
    archive = "zip"


@dataclass(frozen=True, slots=True)
class Source:
    """Where one study, or several in DICOM, can be read.

    Attributes:
        name: relative to the PATH it was found under, with ``/``.
        format: what it is stored as.
        place: the folder or file.
        files: the NIfTI or DICOM files; empty where all under `place` is meant.
        error: why it cannot be read, where that is known from the start.
    """

    name: str
    format: Format
    place: Path
    files: tuple[Path, ...] = ()
    error: InvalidInput | None = None


def find_sources(paths: Iterable[Path], *, skip: Path | None = None) -> Iterator[Source]:
    """Find the studies under files and folders. Nothing is opened but to look at the first bytes.

    Args:
        paths: files and folders, searched to the bottom. Links to folders are not followed.
        skip: a folder that is not searched, such as the one that results are written to.

    Raises:
        InvalidInput: a path does not exist or cannot be reached.
    """
    roots = list(paths)
    for root in roots:
        must_be_there(root)
    loose: dict[Path, list[Path]] = {}
    loose_dicom: list[Path] = []
    for root in roots:
        if os.path.isdir(root):  # noqa: PTH112 - Path.is_dir raises in closed folders
            yield from _under(root, skip)
        elif (kind := format_of(root)) is Format.nifti:
            loose.setdefault(root.absolute().parent, []).append(root)
        elif kind is not None and (problem := _problem(root, kind)):
            yield Source(_stem(root.name), kind, root, error=UnreadableStudy(f"{root.name}: {problem}"))
        elif kind is Format.dicom:
            loose_dicom.append(root)
        elif kind is not None:
            yield Source(_stem(root.name), kind, root)
    for folder, files in loose.items():
        name = _stem(files[0].name) if len(files) == 1 else folder.name or "study"
        yield Source(name, Format.nifti, folder, tuple(files))
    if loose_dicom:
        yield Source("study", Format.dicom, loose_dicom[0].absolute().parent, tuple(loose_dicom))


def format_of(path: Path) -> Format | None:
    """What a file holds, or is meant to hold, by its name or its first bytes; None where it is no study."""
    name = path.name.lower()
    if name.startswith(".") or not _may_be_file(path):
        return None
    if name.endswith(NIFTI_SUFFIXES):
        return Format.nifti
    if is_slice(path.name):
        return None
    if name.endswith(".zip"):
        return Format.archive
    if _PAIR_SUFFIX.search(name):
        return Format.pair
    return Format.dicom if name.endswith(_DICOM_SUFFIXES) or looks_like_dicom(path) else None


def read_source(source: Source, named: Mapping[SeriesRole, str] | None = None) -> Iterator[StudyInput | StudyFailure]:
    """Read the studies of a source, one after the other; what is wrong with one does not keep the next from being read.

    Args:
        source: where.
        named: files or series that the caller named, by role.

    Raises:
        MissingExtra: the clinical part is not installed.
    """
    named = named or {}
    if source.error is not None:
        yield StudyFailure(source.name, source.error)
        return
    try:
        if source.format is Format.archive:
            with unpacked(source.place) as folder:
                yield from _unpacked(source, folder, named)
        elif source.format is Format.nifti:
            yield from _nifti(source, named)
        else:
            yield from _dicom(source, named)
    except InvalidInput as error:
        yield StudyFailure(source.name, error)
    # Links and folders that are closed make looking at a file's size or kind fail.
    except OSError as error:
        yield StudyFailure(source.name, UnreadableStudy(f"a file of it {_closed(error)}"))


def _unpacked(source: Source, folder: Path, named: Mapping[SeriesRole, str]) -> Iterator[StudyInput | StudyFailure]:
    found = list(find_sources([folder]))
    if not found:
        raise UnreadableStudy(f"{source.place.name}: holds neither NIfTI nor DICOM files")
    for each in found:
        if each.format is Format.dicom and each.error is None:
            yield from _dicom(each, named, inside=source.name)
            continue
        name = source.name if each.name == folder.name else f"{source.name}/{each.name}"
        error = _nested(each) if each.format is Format.archive else each.error
        yield from read_source(replace(each, name=name, error=error), named)


def _nested(inner: Source) -> UnusableArchive:
    return UnusableArchive(f"{inner.place.name}: not read, a zip file inside another; unpack the outer one first")


def _nifti(source: Source, named: Mapping[SeriesRole, str]) -> Iterator[StudyInput | StudyFailure]:
    with needs_extra("clinical", "reading NIfTI"):
        from tumorctl.io.nifti import read_set, sets_of
    chosen = {role: (_named_file(source, role, name),) for role, name in named.items()}
    # Path.resolve raises where links lead in a circle.
    taken = {os.path.realpath(file) for files in chosen.values() for file in files}
    left = [file for file in source.files if os.path.realpath(file) not in taken]
    sets = list(sets_of(left))
    if named and len(sets) > 1:
        raise InvalidOption("files are named for one study, and there are several: give the one folder they belong to")
    for each in sets:
        name = f"{source.name}/{each.name}" if each.name else source.name
        try:
            yield read_set(name, {**each.files, **chosen}, named=chosen)
        except TumorctlError as error:
            yield StudyFailure(name, error)


def _named_file(source: Source, role: SeriesRole, name: str) -> Path:
    """The file of the study, or where it has none of that name the file relative to the current folder."""
    option = f"--{role.value.replace('_', '-')}"
    found = [path for path in (source.place / name, Path(name)) if os.path.isfile(path)]  # noqa: PTH113 - see above
    if not found:
        raise NoSuchSeries(f"{option}: there is no file {name}")
    if not found[0].samefile(found[-1]):
        raise NoSuchSeries(
            f"{option}: there is a file {name} in the study's folder and another in the current one; give the path"
        )
    return found[0]


def _dicom(source: Source, named: Mapping[SeriesRole, str], *, inside: str = "") -> Iterator[StudyInput | StudyFailure]:
    with needs_extra("clinical", "reading DICOM"):
        from tumorctl.io.dicom.reading import read_dicom
    yield from read_dicom(source.files or [source.place], named=named, inside=inside)


def _under(root: Path, skip: Path | None) -> Iterator[Source]:
    has_dicom = False
    unusable: list[Source] = []
    closed: list[Source] = []
    # Folders that cannot be listed are reported by the search for slices.
    for folder in walk(root, skip=skip):
        nifti: list[Path] = []
        damaged: dict[Path, str] = {}
        unknown: dict[Path, str] = {}
        names = {entry.name.lower() for entry in folder.files}
        for entry in folder.files:
            if entry.name in _EARLIER_RESULTS or _is_told(entry.name, names):
                continue
            path = Path(entry.path)
            found = format_of(path)
            if found is Format.nifti:
                nifti.append(path)
            elif found is Format.archive:
                yield Source(str(folder.relative / _stem(entry.name)), found, path)
            elif problem := _problem(path, found):
                (unknown if found is None else damaged)[path] = problem
            else:
                has_dicom = has_dicom or found is Format.dicom
        if nifti:
            yield Source(folder.name, Format.nifti, folder.place, tuple(nifti))
        unusable += _failed(folder, damaged)
        closed += _failed(folder, unknown)
    if has_dicom:
        yield Source(root.absolute().name or "study", Format.dicom, root)
    yield from unusable
    if not has_dicom:
        # Else they are told with the DICOM files, of which they may be some.
        yield from closed


def _failed(folder: Folder, problems: Mapping[Path, str]) -> Iterator[Source]:
    """One source for all files of a folder that cannot be used."""
    if problems:
        (path, problem), *others = problems.items()
        more = f"; {len(others)} more of its folder cannot be read either" if others else ""
        error = UnreadableStudy(f"{path.name}: {problem}{more}")
        yield Source(str(folder.relative / path.name), Format.dicom, path, error=error)


def _problem(path: Path, kind: Format | None) -> str:
    """Why a file that is neither NIfTI nor zip cannot be read; empty where it can, or is surely no study."""
    if kind is Format.pair:
        return "pairs of .hdr and .img files are not read; convert them to .nii.gz"
    name = path.name.lower()
    meant = name.endswith(_DICOM_SUFFIXES)
    if name.startswith(".") or (not meant and (kind is not None or name.endswith(_NO_STUDIES))):
        return ""
    try:
        # A pipe would be waited for.
        if not stat.S_ISREG(path.stat().st_mode):
            return ""
        with path.open("rb") as file:
            start = file.read(1)
    except OSError as error:
        # A link that leads nowhere may be anything.
        return _closed(error) if meant or isinstance(error, PermissionError) else ""
    if meant and not looks_like_dicom(path):
        return "not a DICOM file, though its name says so" if start else "empty file (0 bytes)"
    return ""


def _closed(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "cannot be opened: no permission; make it readable"
    return f"cannot be opened ({error.strerror or type(error).__name__})"


def _is_told(name: str, names: set[str]) -> bool:
    """Whether a file is of a pair that lies beside the same volume in one file, or the second of the pair."""
    stem, second = _PAIR_SUFFIX.sub("", name.lower()), re.search(r"\.img(\.gz)?$", name.lower())
    beside = (*NIFTI_SUFFIXES, *((".hdr", ".hdr.gz") if second else ()))
    return stem != name.lower() and any(f"{stem}{suffix}" in names for suffix in beside)


def _may_be_file(path: Path) -> bool:
    """Whether it is a file, or a link or a closed place where one may be; no folder or device."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return os.path.islink(path)  # noqa: PTH114 - see above
    except OSError:
        return True


def _stem(name: str) -> str:
    for suffix in (".nii.gz", ".nii", ".zip", ".dcm", ".dicom", ".ima", ".hdr", ".img"):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name
