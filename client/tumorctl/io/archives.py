"""Zip files, unpacked where nobody else looks, within limits.

What an archive says of itself is not believed: bytes are counted as they come out.
"""

from __future__ import annotations

import re
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from tumorctl.errors import OversizedInput, UnusableArchive

_CHUNK: Final = 1 << 20
_ENCRYPTED: Final = 0x1
_DRIVE: Final = re.compile(r"^[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What is taken out of an archive at most.

    Attributes:
        entries: files and folders.
        total_bytes: of all files together, unpacked.
        file_bytes: of one file, unpacked.
        ratio: unpacked to packed bytes of one file, and of all files together.
        free_bytes: unpacked bytes from which on the ratio counts; an empty volume packs well and is no bomb.
    """

    entries: int = 100_000
    total_bytes: int = 16 << 30
    file_bytes: int = 2 << 30
    ratio: float = 200
    free_bytes: int = 64 << 20


@contextmanager
def unpacked(archive: Path, limits: ArchiveLimits | None = None) -> Iterator[Path]:
    """Unpack a zip file into a private temporary folder, which is removed afterwards.

    Args:
        archive: the file.
        limits: what is taken out at most; by default that of `ArchiveLimits`.

    Yields:
        The folder with the archive's files; it bears the archive's name without the suffix.

    Raises:
        UnusableArchive: empty, damaged, encrypted, of a packing that is not known, or an entry that is a link or would
            be written outside the folder.
        OversizedInput: the limits are exceeded.
    """
    with tempfile.TemporaryDirectory(prefix="tumorctl-", ignore_cleanup_errors=True) as private:
        # A name of dots alone would lead elsewhere.
        folder = Path(private) / (archive.stem.strip(". ") or "archive")
        folder.mkdir()
        _unpack(archive, folder, limits or ArchiveLimits())
        yield folder


def _unpack(archive: Path, folder: Path, limits: ArchiveLimits) -> None:
    try:
        if archive.stat().st_size == 0:
            raise UnusableArchive(f"{archive.name}: empty file (0 bytes); have it sent again")
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            if len(entries) > limits.entries:
                raise OversizedInput(
                    f"{archive.name} holds {len(entries):,} entries, at most {limits.entries:,} are read"
                )
            targets = [_target(archive, place, entry) for place, entry in enumerate(entries, 1)]
            total, packed = 0, 0
            for place, (entry, target) in enumerate(zip(entries, targets, strict=True), 1):
                if target is None:
                    continue
                path = folder.joinpath(*target.parts)
                path.parent.mkdir(parents=True, exist_ok=True)
                packed += entry.compress_size
                with opened.open(entry) as source, path.open("xb") as sink:
                    for size in _copied(source, sink):
                        total += size
                        _check(archive, place, limits, (sink.tell(), entry.compress_size), (total, packed))
    except (UnusableArchive, OversizedInput):
        raise
    except FileExistsError:
        kind = "two entries of it bear the same name"
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError):
        kind = "it is damaged or cut off"
    except (NotImplementedError, RuntimeError):
        kind = "it is packed in a way that is not known here"
    except OSError as error:
        kind = f"it cannot be unpacked here ({error.strerror or type(error).__name__})"
    else:
        return
    raise UnusableArchive(f"{archive.name}: {kind}; pack it again as a plain zip file, or give the folder")


def _target(archive: Path, place: int, entry: zipfile.ZipInfo) -> PurePosixPath | None:
    """Where an entry goes, relative to the folder; None for a folder. Its name is not shown: it may be a patient's."""
    name = entry.filename.replace("\\", "/")
    path = PurePosixPath(name)
    reason = ""
    if path.is_absolute() or _DRIVE.match(name) or ".." in path.parts or "\0" in name:
        reason = "would be written outside its folder"
    elif entry.flag_bits & _ENCRYPTED:
        reason = "is encrypted"
    elif stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        reason = "is a link or a device"
    if reason:
        raise UnusableArchive(f"{archive.name}: entry {place} {reason}; give the unpacked folder, if you trust it")
    return None if entry.is_dir() or not path.parts else path


def _copied(source: IO[bytes], sink: IO[bytes]) -> Iterator[int]:
    while chunk := source.read(_CHUNK):
        sink.write(chunk)
        yield len(chunk)


def _check(
    archive: Path, place: int, limits: ArchiveLimits, one: tuple[int, int], all_of_them: tuple[int, int]
) -> None:
    reason = ""
    if one[0] > limits.file_bytes:
        reason = f"entry {place} unpacks to more than {limits.file_bytes:,} bytes"
    elif all_of_them[0] > limits.total_bytes:
        reason = f"it unpacks to more than {limits.total_bytes:,} bytes"
    elif any(size > limits.free_bytes and size > limits.ratio * max(packed, 1) for size, packed in (one, all_of_them)):
        reason = f"it unpacks to more than {limits.ratio:g} times its size"
    if reason:
        raise OversizedInput(f"{archive.name}: {reason}, which is more than is read from a zip file")
