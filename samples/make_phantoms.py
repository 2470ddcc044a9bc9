"""Draw the made-up brains in this folder: no patient had a part in them.

    python samples/make_phantoms.py

writes ``phantom-tumor/`` and ``phantom-healthy/``, a few axial slices each, 256x256, with the channels T1 before
contrast, FLAIR and T1 after contrast. They look enough like the data set for the shipped networks to answer sensibly,
and show that an installation works; they say nothing of how good the networks are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tumor_export.phantoms import phantom_slice

FOLDER = Path(__file__).parent


def main() -> None:
    """Write both phantoms."""
    levels = np.linspace(-0.5, 0.7, 7)
    for name, radii in (("phantom-tumor", (0, 0, 16, 24, 26, 18, 0)), ("phantom-healthy", (0,) * 7)):
        random = np.random.default_rng(7)
        folder = FOLDER / name
        folder.mkdir(exist_ok=True)
        for number, (level, radius) in enumerate(zip(levels, radii, strict=True), start=1):
            Image.fromarray(phantom_slice(random, float(level), radius)).save(folder / f"{name}_{number}.png")


if __name__ == "__main__":
    main()
