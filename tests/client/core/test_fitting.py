from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tumorctl.core.fitting import fit, fit_back
from tumorctl.errors import UnsupportedImage

sides = st.integers(32, 700)


def disc(height: int, width: int, row: float, column: float, radius: float) -> npt.NDArray[np.bool_]:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.asarray(np.hypot(rows - row, columns - column) <= radius)


def test_a_slice_of_the_networks_size_is_not_touched() -> None:
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    assert np.array_equal(fit(image), image)
    mask = image[:, :, 0] > 100
    assert np.array_equal(fit_back(mask, 256, 256), mask)


@settings(deadline=None)
@given(height=sides, width=sides)
def test_any_size_fits_and_its_mask_comes_back_at_that_size(height: int, width: int) -> None:
    image = np.full((height, width, 3), 200, np.uint8)
    fitted = fit(image)
    assert fitted.shape == (256, 256, 3)
    assert fitted.flags.c_contiguous
    mask = fit_back(np.ones((256, 256), np.bool_), height, width)
    assert mask.shape == (height, width)
    assert mask.all()
    assert not fit_back(np.zeros((256, 256), np.bool_), height, width).any()


@settings(deadline=None)
@given(height=st.integers(128, 700), width=st.integers(128, 700), row=st.floats(0.3, 0.7), column=st.floats(0.3, 0.7))
def test_a_disc_survives_the_way_there_and_back(height: int, width: int, row: float, column: float) -> None:
    radius = min(height, width) / 5
    drawn = disc(height, width, row * height, column * width, radius)
    image = np.repeat(drawn[:, :, np.newaxis].astype(np.uint8) * 255, 3, axis=2)
    back = fit_back(fit(image)[:, :, 0] >= 128, height, width)
    overlap = 2 * (back & drawn).sum() / (back.sum() + drawn.sum())
    assert overlap > 0.93


@pytest.mark.parametrize(("height", "width"), [(512, 256), (256, 512), (300, 301)])
def test_the_slice_is_centred_in_a_square(height: int, width: int) -> None:
    fitted = fit(np.full((height, width), 255, np.uint8))[:, :, 0].astype(float)
    weights = fitted / fitted.sum()
    rows, columns = np.mgrid[0:256, 0:256]
    assert (weights * rows).sum() == pytest.approx(127.5, abs=0.6)
    assert (weights * columns).sum() == pytest.approx(127.5, abs=0.6)


def test_one_channel_is_used_three_times() -> None:
    grey = np.arange(256 * 256, dtype=np.uint32).reshape(256, 256).astype(np.uint8)
    for image in (grey, grey[:, :, np.newaxis]):
        assert np.array_equal(fit(image), np.repeat(grey[:, :, np.newaxis], 3, axis=2))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((256, 256, 3), np.float32), "float32"),
        (np.zeros((256, 256, 3), np.uint16), "uint16"),
        (np.zeros((256, 256, 4), np.uint8), "shape"),
        (np.zeros((2, 256, 256, 3), np.uint8), "shape"),
        (np.zeros((256,), np.uint8), "shape"),
        (np.zeros((1, 1, 3), np.uint8), "at least"),
        (np.zeros((0, 256, 3), np.uint8), "at least"),
        (np.broadcast_to(np.uint8(0), (20_000, 20_000, 3)), "at most"),
    ],
)
def test_what_is_not_a_slice_is_refused(image: npt.NDArray[np.uint8], reason: str) -> None:
    with pytest.raises(UnsupportedImage, match=reason):
        fit(image)
