"""Masks and overlays as PNG."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from tumorctl.contract import FLAIR_CHANNEL

# An overlay has 127 greys, one colour for the outline and 128 reddened greys inside it: one byte a pixel, which
# compresses three times as fast as RGB.
_GREYS = 127
_OUTLINE_INDEX = 127
_INSIDE_INDEX = 128
_OUTLINE_COLOUR = (255, 64, 48)
_INSIDE_TINT = 0.25


def encode_mask(mask: npt.NDArray[np.bool_]) -> bytes:
    """A mask as 8-bit grey PNG, 255 inside the tumour, 0 elsewhere."""
    return _png(Image.fromarray(mask.astype(np.uint8) * np.uint8(255)))


def encode_overlay(image: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> bytes:
    """The FLAIR of a slice in grey, with the tumour outlined and lightly filled, as PNG.

    Args:
        image: uint8, shape (height, width, 3).
        mask: bool, shape (height, width).
    """
    flair = image[:, :, FLAIR_CHANNEL]
    indices = np.where(mask, _INSIDE_OF[flair], _GREY_OF[flair])
    indices[outline(mask)] = _OUTLINE_INDEX
    picture = Image.fromarray(indices)
    picture.putpalette(_PALETTE)
    return _png(picture)


def outline(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Pixels of the mask that touch a pixel outside it, or the edge of the slice, by a side.

    Args:
        mask: bool, shape (height, width).

    Returns:
        bool, shape (height, width).
    """
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(mask & ~inside)


def _palette() -> bytes:
    greys = np.repeat(np.linspace(0, 255, _GREYS)[:, np.newaxis], 3, axis=1)
    inside = np.repeat(np.linspace(0, 255, 256 - _INSIDE_INDEX)[:, np.newaxis], 3, axis=1)
    inside = inside * (1 - _INSIDE_TINT) + np.asarray(_OUTLINE_COLOUR) * _INSIDE_TINT
    colours = np.concatenate([greys, [_OUTLINE_COLOUR], inside])
    return colours.round().astype(np.uint8).tobytes()


_PALETTE = _palette()
_LEVELS = np.arange(256)
_GREY_OF = (_LEVELS * (_GREYS - 1) // 255).astype(np.uint8)
_INSIDE_OF = (_INSIDE_INDEX + _LEVELS // 2).astype(np.uint8)
_RUN_LENGTHS = 3
"""zlib's Z_RLE: on these pictures a third faster than its default, and smaller."""


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, compress_type=_RUN_LENGTHS)
    return buffer.getvalue()
