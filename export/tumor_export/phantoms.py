"""Made-up brains: no patient had a part in them.

They look enough like the data set for the networks to answer sensibly, and serve where real slices are not at hand: as
samples, and to see that two engines answer alike. They say nothing of how good the networks are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from tumorctl.contract import SIDE

Field = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tissue:
    """Grey levels, 0 to 255, in T1, FLAIR and T1 after contrast."""

    t1: float
    flair: float
    contrast: float


SCALP = Tissue(170, 180, 175)
GREY_MATTER = Tissue(60, 72, 62)
WHITE_MATTER = Tissue(72, 62, 74)
FLUID = Tissue(20, 14, 20)
TUMOR = Tissue(52, 150, 58)


def smooth_noise(random: np.random.Generator, cells: int) -> Field:
    """Noise in [-1, 1] that varies over SIDE / cells pixels."""
    coarse = random.uniform(-1, 1, (cells, cells))
    return np.asarray(Image.fromarray(coarse.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC), float)


def ellipse(row: float, column: float, height: float, width: float, wobble: Field | float = 0.0) -> Field:
    """A soft-edged ellipse, 1 inside and 0 outside; centre and half axes in pixels."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    distance = np.hypot((rows - row) / height, (columns - column) / width) - 1 + wobble
    return np.asarray(np.clip(0.5 - distance * min(height, width) / 2, 0, 1))


def paint(slice_: Field, where: Field, tissue: Tissue) -> None:
    """Lay a tissue over the slice."""
    levels = np.array([tissue.t1, tissue.flair, tissue.contrast])
    slice_ += (levels - slice_) * where[:, :, np.newaxis]


def phantom_slice(random: np.random.Generator, level: float, tumor_radius: float) -> npt.NDArray[np.uint8]:
    """One axial slice.

    Args:
        random: source of all that varies.
        level: height in the head, -1 at the base to 1 at the vertex.
        tumor_radius: in pixels; 0 for none.
    """
    shrink = np.sqrt(1 - 0.55 * level**2)
    height, width = 108 * shrink, 84 * shrink
    slice_ = np.zeros((SIDE, SIDE, 3))
    paint(slice_, ellipse(128, 128, height, width), SCALP)
    paint(slice_, ellipse(128, 128, height - 6, width - 6), FLUID)
    folds = 0.05 * smooth_noise(random, 24)
    brain = ellipse(128, 128, height - 13, width - 13, folds)
    paint(slice_, brain, GREY_MATTER)
    paint(slice_, ellipse(128, 128, height - 24, width - 24, 0.16 * smooth_noise(random, 16)), WHITE_MATTER)
    paint(slice_, ellipse(128, 128, height - 14, 1.6), FLUID)
    if abs(level) < 0.6:
        for side in (-1, 1):
            paint(slice_, ellipse(112, 128 + side * 11, 24 * shrink, 7 * shrink, 0.1 * smooth_noise(random, 10)), FLUID)
    if tumor_radius:
        edge = 0.18 * smooth_noise(random, 9)
        paint(slice_, ellipse(104, 168, tumor_radius, tumor_radius * 0.85, edge) * brain, TUMOR)
    texture = 1 + 0.04 * smooth_noise(random, 64)[:, :, np.newaxis] + random.normal(0, 0.02, slice_.shape)
    return np.clip(slice_ * texture, 0, 255).astype(np.uint8)


def phantom_study(seed: int, tumor: bool, count: int = 7) -> npt.NDArray[np.uint8]:
    """Slices of one made-up head, from the base upwards.

    Args:
        seed: the same seed gives the same head.
        tumor: whether the slices in the middle show one.
        count: of slices.

    Returns:
        uint8, shape (count, 256, 256, 3).
    """
    random = np.random.default_rng(seed)
    levels = np.linspace(-0.5, 0.7, count)
    largest = random.uniform(18, 28) if tumor else 0.0
    radii = largest * np.clip(1.2 - np.abs(np.linspace(-1.6, 1.6, count)) ** 2, 0, 1)
    return np.stack([phantom_slice(random, float(at), float(r)) for at, r in zip(levels, radii, strict=True)])
