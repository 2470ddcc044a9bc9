"""Which files are DICOM, and which study and series each belongs to."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Final

from pydicom import Dataset, dcmread
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from tumorctl.errors import InvalidInput, OversizedInput, UnreadableStudy
from tumorctl.io.dicom.privacy import NAMING, plain, secrets_in
from tumorctl.io.dicom.quiet import privately
from tumorctl.io.dicom.sniffing import looks_like_dicom
from tumorctl.io.discovery import natural_key

MAX_OBJECT_BYTES: Final = 2 << 30
"""Of one DICOM file, and of its content where the file is deflated."""

_PIXEL_TAGS: Final = frozenset({0x7FE00010, 0x7FE00008, 0x7FE00009})
_FIRST_LOOK: Final = (*NAMING, "SOPInstanceUID", "SOPClassUID", "Modality")


@dataclass(frozen=True)
class Source:
    """One DICOM object: a file, or a dataset that the caller holds.

    Attributes:
        name: path relative to what the caller named, with ``/``; empty for a dataset.
        study: StudyInstanceUID.
        series: SeriesInstanceUID.
        sop_class: SOPClassUID.
        modality: upper case.
        patient_id: the patient's number, to tell patients apart, never shown; empty where there is none.
        patient_name: likewise the patient's name.
        secrets: what its name must not contain to be shown, plain.
        instance: SOPInstanceUID, plain, which its name must not contain either.
        root: the path that the caller named; None for a dataset.
    """

    name: str
    study: str
    series: str
    sop_class: str
    modality: str
    patient_id: str = field(repr=False)
    patient_name: str = field(repr=False)
    secrets: frozenset[str] = field(repr=False)
    instance: str = field(repr=False)
    root: Path | None = None
    dataset: Dataset | None = field(default=None, repr=False)

    @cached_property
    def path(self) -> Path | None:
        """The file, if it is one."""
        return self.root if self.root is None or self.root.is_file() else self.root / self.name

    def header(self) -> Dataset:
        """The whole header, without pixels.

        Raises:
            UnreadableStudy: damaged.
            OversizedInput: far larger than any MR object.
        """
        if self.dataset is not None:
            return _without_pixels(self.dataset)
        return _read(self.path, pixels=False)

    def whole(self) -> Dataset:
        """Header and pixels.

        Raises:
            UnreadableStudy: damaged.
            OversizedInput: far larger than any MR object.
        """
        return self.dataset if self.dataset is not None else _read(self.path, pixels=True)


@dataclass(frozen=True, slots=True)
class Damaged:
    """A file that looks like DICOM and cannot be read.

    Attributes:
        name: path relative to what the caller named, with ``/``.
        error: why.
    """

    name: str
    error: InvalidInput


def sources_of(given: Iterable[Path | Dataset]) -> Iterator[Source | Damaged]:
    """Look at the header of each dataset, file and file of a folder, to any depth; what is not DICOM is passed over.

    Links to folders are not followed, nor are hidden files and folders looked at. A file that is reached twice is read
    once.

    Raises:
        InvalidInput: a path does not exist.
    """
    seen: set[Path] = set()
    for each in given:
        if isinstance(each, Dataset):
            yield privately(lambda each=each: _source("", None, each), _damaged_dataset)  # type: ignore[misc]
            continue
        if not os.path.lexists(each):
            raise InvalidInput(f"{each} does not exist")
        closed: list[OSError] = []
        for path in _files(each, closed):
            name = path.name if path == each else path.relative_to(each).as_posix()
            if not os.access(path, os.R_OK):
                yield Damaged(name, _closed())
                continue
            real = path.resolve()
            if real in seen or not stat.S_ISREG(path.stat().st_mode) or not looks_like_dicom(path):
                continue
            seen.add(real)
            try:
                source = privately(lambda path=path, name=name, each=each: _look(path, name, each), _damaged)  # type: ignore[misc]
            except InvalidInput as error:
                yield Damaged(name, error)
                continue
            if source is not None:
                yield source
        for refusal in closed:
            yield Damaged(Path(refusal.filename or each).relative_to(each).as_posix(), _closed())


def _files(root: Path, closed: list[OSError]) -> Iterator[Path]:
    if not root.is_dir():
        yield root
        return
    for folder, folders, files in os.walk(root, onerror=closed.append):
        folders[:] = sorted((each for each in folders if not each.startswith(".")), key=natural_key)
        for name in sorted((each for each in files if not each.startswith(".")), key=natural_key):
            path = Path(folder, name)
            try:
                there = path.exists()
            except OSError as error:
                # A link into a closed folder, or a folder that may be listed and not entered.
                closed.append(error)
                continue
            if there:
                yield path


def _look(path: Path, name: str, root: Path) -> Source | None:
    header = _read(path, pixels=False, only=_FIRST_LOOK)
    if header.get("SOPClassUID") == MediaStorageDirectoryStorage or "SOPClassUID" not in header:
        return None
    return _source(name, root, header)


def _source(name: str, root: Path | None, header: Dataset) -> Source:
    return Source(
        name=name,
        study=str(header.get("StudyInstanceUID") or ""),
        series=str(header.get("SeriesInstanceUID") or ""),
        sop_class=str(header.get("SOPClassUID") or ""),
        modality=str(header.get("Modality") or "").upper(),
        patient_id=str(header.get("PatientID") or "").strip().casefold(),
        patient_name=plain(str(header.get("PatientName") or "").partition("=")[0]),
        secrets=secrets_in(header),
        instance=plain(str(header.get("SOPInstanceUID") or "")),
        root=root,
        dataset=header if root is None else None,
    )


def _read(path: Path | None, *, pixels: bool, only: tuple[str, ...] | None = None) -> Dataset:
    assert path is not None
    if path.stat().st_size > MAX_OBJECT_BYTES:
        raise OversizedInput(f"larger than {MAX_OBJECT_BYTES:,} bytes, which no MR object is")
    with path.open("rb") as file:
        bare = read_preamble(file, force=True) is None
        # The very function that the library itself finds the end of the meta information by.
        meta = _read_file_meta_info(file)
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            _check_deflated(file)
    header = dcmread(path, stop_before_pixels=not pixels, force=bare, specific_tags=list(only) if only else None)
    if "SOPClassUID" not in header and header.file_meta.get("MediaStorageSOPClassUID"):
        raise UnreadableStudy("damaged or cut off in its header")
    return header


def _check_deflated(content: BinaryIO) -> None:
    """See that a deflated file, read to its deflated part, stays small when inflated: the library does it in one go."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    size = 0
    while (packed := content.read(1 << 16)) and not inflater.eof:
        while packed:
            size += len(inflater.decompress(packed, 1 << 20))
            if size > MAX_OBJECT_BYTES:
                raise OversizedInput(f"inflates to more than {MAX_OBJECT_BYTES:,} bytes, which no MR object does")
            packed = inflater.unconsumed_tail


def _without_pixels(dataset: Dataset) -> Dataset:
    header = Dataset()
    for tag in dataset.keys():  # noqa: SIM118 - iterating a dataset would convert each value
        element = dataset.get_item(tag)
        if tag not in _PIXEL_TAGS and element is not None:
            header[tag] = element
    if hasattr(dataset, "file_meta"):
        header.file_meta = dataset.file_meta
    return header


def _closed() -> UnreadableStudy:
    return UnreadableStudy("cannot be opened: no permission; make it readable")


def _damaged(kind: str) -> UnreadableStudy:
    return UnreadableStudy(f"damaged or cut off ({kind}): have it sent again")


def _damaged_dataset(kind: str) -> UnreadableStudy:
    return UnreadableStudy(f"a dataset was given whose header cannot be read ({kind})")
