from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from PIL import Image

from tumorctl.outputs.images import encode_mask, encode_overlay, outline

masks = arrays(np.bool_, (12, 17))


def decode(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@settings(deadline=None)
@given(masks)
def test_masks_are_eight_bit_with_two_values(mask: npt.NDArray[np.bool_]) -> None:
    image = decode(encode_mask(mask))
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), np.where(mask, 255, 0))


@settings(deadline=None)
@given(masks)
def test_the_outline_lies_in_the_mask_and_encloses_it(mask: npt.NDArray[np.bool_]) -> None:
    edge = outline(mask)
    assert not (edge & ~mask).any()
    inner = mask & ~edge
    # No pixel of the inside touches the outside: moving it one step any way stays in the mask.
    for axis in (0, 1):
        for step in (-1, 1):
            assert not (np.roll(inner, step, axis) & ~mask).any()


def test_outside_the_tumour_the_overlay_shows_the_flair_in_grey() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    mask = np.zeros((40, 50), np.bool_)
    mask[10:20, 10:20] = True
    shown = np.asarray(decode(encode_overlay(image, mask)).convert("RGB")).astype(int)
    assert shown.shape == (40, 50, 3)
    outside = shown[~mask]
    assert (outside.max(axis=1) == outside.min(axis=1)).all()
    assert np.abs(outside[:, 0] - image[:, :, 1][~mask]).max() <= 3


def test_the_outline_is_in_colour_and_the_inside_still_shows_the_flair() -> None:
    image = np.zeros((40, 50, 3), np.uint8)
    image[:, :, 1] = np.linspace(0, 255, 50)
    mask = np.zeros((40, 50), np.bool_)
    mask[5:35, 5:45] = True
    shown = np.asarray(decode(encode_overlay(image, mask)).convert("RGB")).astype(int)
    assert (shown[outline(mask)] == (255, 64, 48)).all()
    row = shown[20, 6:44]
    assert (np.diff(row.sum(axis=1)) >= 0).all()
    assert (row[:, 0] > row[:, 2]).all()
