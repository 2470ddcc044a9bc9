"""Telling DICOM files from others by their first bytes; needs no DICOM library."""

from __future__ import annotations

from pathlib import Path


def looks_like_dicom(path: Path) -> bool:
    """Whether a file's first bytes are those of DICOM, with or without its preamble."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    return start[128:] == b"DICM" or _bare(start)


def _bare(start: bytes) -> bool:
    """Whether bytes start with group 8, as files without a preamble do."""
    if (
        len(start) < 12
        or start[:2] != b"\x08\x00"
        or start[2:4] not in (b"\x00\x00", b"\x05\x00", b"\x08\x00", b"\x16\x00")
    ):
        return False
    return start[4:6].isalpha() or int.from_bytes(start[4:8], "little") <= 128
