"""Sends the made-up brains of samples/ to the server at TUMORCTL_URL and compares the answers with what is known."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tumorctl import TumorClient

EXPECTED = {
    "phantom-tumor": [False, False, True, True, True, True, False],
    "phantom-healthy": [False] * 7,
}
"""Which slices show a tumour, from the first to the last."""


def main(samples: Path) -> None:
    """Ask, compare, and end with an error where an answer is another."""
    with TumorClient() as client:
        for scan, expected in EXPECTED.items():
            files = [samples / scan / f"{scan}_{number}.png" for number in range(1, len(expected) + 1)]
            results = list(client.predict(np.asarray(Image.open(file)) for file in files))
            found = [result.has_tumor for result in results]
            print(scan, " ".join(f"{result.tumor_probability:.3f}" for result in results))  # noqa: T201 (the test's log)
            if found != expected:
                sys.exit(f"{scan}: tumour in slices {found}, expected {expected}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
