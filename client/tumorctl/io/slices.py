"""Reading one slice: TIFF, PNG or JPEG, 8 bits, one or three channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from tumorctl.contract import MAX_SLICE_PIXELS, MIN_SLICE_SIDE
from tumorctl.errors import UnreadableImage, UnsupportedImage

_EIGHT_BIT_MODES = {"L": "L", "RGB": "RGB", "1": "L", "P": "RGB"}
_FORMATS = ("TIFF", "PNG", "JPEG")
_SAMPLE_FORMAT, _SIGNED = 339, 2
_ORIENTATION, _ON_ITS_SIDE = 274, (5, 6, 7, 8)
"""TIFF 6.0, sections 19 and 8."""


def read_slice(path: Path) -> npt.NDArray[np.uint8]:
    """Read a slice file.

    Args:
        path: a TIFF, PNG or JPEG file with 8 bits a sample and one or three channels. The content decides, not the
            suffix. One channel comes back three times, as the data set does with a missing sequence.

    Returns:
        uint8, shape (height, width, 3): T1 before contrast, FLAIR, T1 after contrast; turned as the file says that it
        is to be shown.

    Raises:
        UnreadableImage: the file cannot be opened, is empty, truncated or not an image.
        UnsupportedImage: 16 bits, signed samples, a TIFF stored on its side, another number of channels, several pages,
            too small or too large.
    """
    try:
        if path.stat().st_size == 0:
            raise UnreadableImage("empty file (0 bytes)")
        with Image.open(path, formats=_FORMATS) as image:
            _check_kind(image)
            mode = _EIGHT_BIT_MODES[image.mode]
            # Pillow turns TIFFs by itself.
            upright = image if image.format == "TIFF" else ImageOps.exif_transpose(image)
            pixels = np.asarray(upright if upright.mode == mode else upright.convert(mode))
    except (UnreadableImage, UnsupportedImage):
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImage("not a TIFF, PNG or JPEG image") from error
    except Image.DecompressionBombError as error:
        raise UnsupportedImage(_too_large()) from error
    # Pillow raises many kinds of errors on damaged files, SyntaxError and struct.error among them.
    except Exception as error:
        raise UnreadableImage(_reason(error)) from error
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
    return pixels


def read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """Read a label or mask file: True where any channel is above 0.

    Returns:
        bool, shape (height, width).

    Raises:
        UnreadableImage, UnsupportedImage: as `read_slice`.
    """
    return np.asarray(read_slice(path).max(axis=2) > 0)


def _check_kind(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_SLICE_PIXELS:
        raise UnsupportedImage(f"{width}x{height} pixels: {_too_large()}")
    if min(width, height) < MIN_SLICE_SIDE:
        raise UnsupportedImage(
            f"{width}x{height} pixels: too small, a slice is at least {MIN_SLICE_SIDE}x{MIN_SLICE_SIDE}"
        )
    try:
        # Asking for the second page is much cheaper than counting them.
        image.seek(1)
    except EOFError:
        pass
    else:
        raise UnsupportedImage("several pages or frames in one file: write one file per slice")
    # Pillow opens 16-bit RGB as 8-bit RGB and drops the low bytes; only the raw mode tells.
    tiles = getattr(image, "tile", [])
    raw_modes = {str(arguments[0] if isinstance(arguments, tuple) else arguments) for *_, arguments in tiles}
    if image.mode.startswith(("I", "F")) or any(";16" in mode or ";32" in mode for mode in raw_modes):
        raise UnsupportedImage("more than 8 bits a sample: scale the slice to 8 bits first, window and level are yours")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_tags(image.tag_v2)
    if image.mode not in _EIGHT_BIT_MODES:
        channels = len(image.getbands())
        raise UnsupportedImage(f"{channels} channels ({image.mode}): a slice has 1 or 3")


def _check_tags(tags: TiffImagePlugin.ImageFileDirectory_v2) -> None:
    """What Pillow reads wrongly: signed bytes as unsigned ones, and what lies on its side with rows for columns."""
    formats = tags.get(_SAMPLE_FORMAT, ())
    if _SIGNED in (formats if isinstance(formats, tuple) else (formats,)):
        raise UnsupportedImage("signed samples: scale the slice to 0 to 255 first")
    if tags.get(_ORIENTATION, 1) in _ON_ITS_SIDE:
        raise UnsupportedImage("stored on its side: write the slice upright, without an orientation tag")


def _too_large() -> str:
    return f"too large, at most {MAX_SLICE_PIXELS:,} pixels are read"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be opened ({error.strerror})"
    return f"damaged or truncated image ({type(error).__name__})"
