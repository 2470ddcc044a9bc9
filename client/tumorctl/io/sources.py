"""Which studies lie under files and folders, in NIfTI, DICOM or zip files, and reading them one by one.

A folder's NIfTI files are one study, or several where their names say so. DICOM files are put together by what their
headers say, wherever they lie under one PATH.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tumorctl.errors import InvalidInput, InvalidOption, NoSuchSeries, TumorctlError, UnreadableStudy
from tumorctl.extras import needs_extra
from tumorctl.io.archives import is_archive, unpacked
from tumorctl.io.dicom.sniffing import looks_like_dicom
from tumorctl.io.discovery import is_slice, walk
from tumorctl.io.series import StudyFailure, StudyInput
from tumorctl.types import SeriesRole

NIFTI_SUFFIXES = (".nii", ".nii.gz")
_EARLIER_RESULTS = frozenset({"seg.dcm", "sr.dcm", "overlay.dcm", "mask.nii.gz"})


class Format(str, Enum):
    """What a study is stored as."""

    nifti = "NIfTI"
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
    """

    name: str
    format: Format
    place: Path
    files: tuple[Path, ...] = ()


def find_sources(paths: Iterable[Path], *, skip: Path | None = None) -> Iterator[Source]:
    """Find the studies under files and folders. Nothing is opened but to look at the first bytes.

    Args:
        paths: files and folders, searched to the bottom. Links to folders are not followed.
        skip: a folder that is not searched, such as the one that results are written to.
    """
    loose: dict[Path, list[Path]] = {}
    loose_dicom: list[Path] = []
    for root in paths:
        if root.is_dir():
            yield from _under(root, skip)
        elif (kind := format_of(root)) is Format.nifti:
            loose.setdefault(root.absolute().parent, []).append(root)
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
    """What a file holds, by its name or its first bytes; None where it is no study."""
    if path.name.startswith(".") or not path.is_file():
        return None
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        return Format.nifti
    if is_slice(path.name):
        return None
    if path.suffix.lower() == ".zip" and is_archive(path):
        return Format.archive
    return Format.dicom if looks_like_dicom(path) else None


def read_source(source: Source, named: Mapping[SeriesRole, str] | None = None) -> Iterator[StudyInput | StudyFailure]:
    """Read the studies of a source, one after the other; what is wrong with one does not keep the next from being read.

    Args:
        source: where.
        named: files or series that the caller named, by role.

    Raises:
        MissingExtra: the clinical part is not installed.
    """
    named = named or {}
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


def _unpacked(source: Source, folder: Path, named: Mapping[SeriesRole, str]) -> Iterator[StudyInput | StudyFailure]:
    found = [each for each in find_sources([folder]) if each.format is not Format.archive]
    if not found:
        raise UnreadableStudy(f"{source.place.name}: holds neither NIfTI nor DICOM files")
    for each in found:
        if each.format is Format.dicom:
            yield from _dicom(each, named, inside=source.name)
            continue
        name = source.name if each.name == folder.name else f"{source.name}/{each.name}"
        yield from read_source(Source(name, each.format, each.place, each.files), named)


def _nifti(source: Source, named: Mapping[SeriesRole, str]) -> Iterator[StudyInput | StudyFailure]:
    with needs_extra("clinical", "reading NIfTI"):
        from tumorctl.io.nifti import read_set, sets_of
    chosen = {role: (_named_file(source, role, name),) for role, name in named.items()}
    taken = {file.resolve() for files in chosen.values() for file in files}
    left = [file for file in source.files if file.resolve() not in taken]
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
    for path in (Path(name), source.place / name):
        if path.is_file():
            return path
    raise NoSuchSeries(f"--{role.value.replace('_', '-')}: there is no file {name}")


def _dicom(source: Source, named: Mapping[SeriesRole, str], *, inside: str = "") -> Iterator[StudyInput | StudyFailure]:
    with needs_extra("clinical", "reading DICOM"):
        from tumorctl.io.dicom.reading import read_dicom
    yield from read_dicom(source.files or [source.place], named=named, inside=inside)


def _under(root: Path, skip: Path | None) -> Iterator[Source]:
    has_dicom = False
    # Folders that cannot be listed are reported by the search for slices.
    for folder in walk(root, skip=skip):
        nifti: list[Path] = []
        for entry in folder.files:
            if entry.name in _EARLIER_RESULTS:
                continue
            path = Path(entry.path)
            found = format_of(path)
            if found is Format.nifti:
                nifti.append(path)
            elif found is Format.archive:
                yield Source(str(folder.relative / _stem(entry.name)), found, path)
            has_dicom = has_dicom or found is Format.dicom
        if nifti:
            yield Source(folder.name, Format.nifti, folder.place, tuple(nifti))
    if has_dicom:
        yield Source(root.absolute().name or "study", Format.dicom, root)


def _stem(name: str) -> str:
    for suffix in (".nii.gz", ".nii", ".zip", ".dcm"):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name
