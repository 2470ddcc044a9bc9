"""Telling DICOM files from others by their first bytes; needs no DICOM library."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_FIRST_TAGS: Final = (b"\x08\x00\x00\x00", b"\x08\x00\x05\x00", b"\x08\x00\x08\x00", b"\x08\x00\x16\x00")
"""Of files that have nothing before their data: little endian."""
_META_GROUP: Final = b"\x02\x00"
_META_KINDS: Final = (b"UI", b"UL", b"OB")
"""What the meta information begins with, of which the library may write as little as the transfer syntax."""


def looks_like_dicom(path: Path) -> bool:
    """Whether a file's first bytes are those of DICOM, with or without its preamble."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    return start[128:] == b"DICM" or _bare(start)


def _bare(start: bytes) -> bool:
    """Whether bytes start with group 2 or 8, as files without a preamble do."""
    if len(start) < 12:
        return False
    if start.startswith(_META_GROUP):
        return start[4:6] in _META_KINDS
    return start.startswith(_FIRST_TAGS) and (start[4:6].isalpha() or int.from_bytes(start[4:8], "little") <= 128)
