"""What size a compressed image says it has, read before a decoder believes it."""

from __future__ import annotations

from typing import Final

Size = tuple[int, int, int]
"""Rows, columns, components."""

_J2K_START: Final = b"\xff\x4f\xff\x51"
_JPEG_START: Final = b"\xff\xd8"
_JPEG_SIZES: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""Markers of frame headers, JPEG-LS (0xF7) among them."""


def declared_size(frame: bytes) -> Size | None:
    """Size that a JPEG, JPEG-LS or JPEG 2000 image declares.

    Returns:
        None where no such size is found.
    """
    if frame.startswith(_JPEG_START):
        return _jpeg_size(frame)
    start = frame.find(_J2K_START, 0, 1 << 12)
    if start < 0:
        return None
    right, bottom, left, top = (_uint(frame, start + 8 + 4 * place, 4) for place in range(4))
    return bottom - top, right - left, _uint(frame, start + 40, 2)


def _jpeg_size(frame: bytes) -> Size | None:
    place = 2
    while place + 4 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker == 0xFF:
            place += 1
        elif marker in _JPEG_SIZES:
            return _uint(frame, place + 5, 2), _uint(frame, place + 7, 2), _uint(frame, place + 9, 1)
        else:
            place += 2 + _uint(frame, place + 2, 2)
    return None


def _uint(data: bytes, place: int, length: int) -> int:
    return int.from_bytes(data[place : place + length], "big")
