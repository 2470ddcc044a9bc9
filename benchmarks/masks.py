"""What is done with a segmenter's answers, in quality: one look or two, the mask threshold, islands kept or dropped.

    python benchmarks/masks.py DATA [--segmenter CHECKPOINT] [--second REPOSITORY] [--fold 0] [--cache DIR]

Figures on the validation patients of a fold, without the gate, for the segmenter that tumorctl ships or for one of a
run; with --second, also for both together: the segmenter of that model repository looks at the mirror image. Neither
may have learned from these patients, which is not checked here. DATA is the LGG set in the Kaggle layout; test patients
are not looked at.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from machine import processor
from rich.console import Console
from rich.table import Table
from torch import nn

from tumor_training.dataset import load
from tumor_training.inference import probabilities_of
from tumor_training.networks import Mirrored, TumorSegmenter
from tumor_training.networks.folding import load_folded
from tumor_training.networks.weights import read_shipped, width_of
from tumor_training.run import load_task
from tumor_training.scoring import patient_dice
from tumor_training.splits import read_split
from tumorctl.contract import SEGMENTER
from tumorctl.core.components import main_components

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
SHARES = (0.0, 0.05, 0.2, 1.0)


def shipped(repository: Path | None) -> nn.Module:
    """The segmenter of a model repository, by default of the bundled one; of two in one, the first."""
    state = read_shipped(SEGMENTER, repository)
    network = TumorSegmenter(width=width_of(state))
    load_folded(network, state)
    return network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--segmenter", type=Path)
    parser.add_argument("--second", type=Path)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--cache", type=Path)
    arguments = parser.parse_args()
    slices = load(arguments.data, arguments.cache)
    patients = read_split().validation(arguments.fold)
    where = slices.indices_of(patients)
    images, labels = slices.images[where], slices.masks[where]
    names = np.asarray(slices.patients)[where]
    healthy = ~labels.any(axis=(1, 2))
    network = load_task(arguments.segmenter).network if arguments.segmenter else shipped(None)
    looking = {"one": network, "two": Mirrored(network)}
    if arguments.second:
        looking["two networks"] = Mirrored(network, shipped(arguments.second)).eval()
    table = Table(
        title=f"fold {arguments.fold}, {len(patients)} patients, {len(where)} slices, without the gate",
        title_justify="left",
    )
    for column in ("looks", "threshold", "islands under", "mean Dice", "median", "worst", "false-positive slices"):
        table.add_column(column, justify="right")
    for looks, segmenter in looking.items():
        probabilities = probabilities_of(segmenter, images)
        for threshold in THRESHOLDS:
            masks = probabilities >= np.float32(threshold)
            for share in SHARES:
                kept = masks.copy()
                for patient in patients:
                    kept[names == patient] = main_components(masks[names == patient], share)
                dice = np.array(list(patient_dice(kept, labels, list(names)).values()))
                table.add_row(
                    looks,
                    f"{threshold:g}",
                    f"{share:g}",
                    *(f"{value:.4f}" for value in (dice.mean(), np.median(dice), dice.min())),
                    f"{false_positives(kept, healthy):.2%}",
                )
    console = Console(width=110)
    console.print(table)
    console.print(processor(), highlight=False)


def false_positives(masks: npt.NDArray[np.bool_], healthy: npt.NDArray[np.bool_]) -> float:
    """Part of the slices without tumour with any pixel of mask."""
    return float(masks[healthy].any(axis=(1, 2)).mean())


if __name__ == "__main__":
    main()
