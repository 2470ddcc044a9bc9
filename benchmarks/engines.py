"""The local engine's candidates: OpenVINO and ONNX Runtime, by precision, in speed and in quality.

    python benchmarks/engines.py DATA [--fold 0] [--repository DIR] [--cache DIR]

Milliseconds a slice in batches of 16, the fastest of several interleaved rounds, and the mean volume Dice on the
validation patients with the repository's thresholds: a faster precision is the default only where that changes by at
most 0.002, and offered where it loses at most 0.01. DATA is the LGG set in the Kaggle layout; test patients are not
looked at. Networks that learned from the fold's patients too, as the shipped ones may have, flatter themselves on them,
in every precision alike: name networks of the fold with --repository.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from machine import processor
from rich.console import Console
from rich.table import Table

from tumor_export.agreement import Run, onnx_runtime
from tumor_training.dataset import load
from tumor_training.scoring import patient_dice
from tumor_training.splits import read_split
from tumorctl.config import bundled_repository
from tumorctl.contract import CLASSIFIER, NETWORKS, SEGMENTER
from tumorctl.engines.openvino import Network, choose_precision
from tumorctl.errors import ModelError
from tumorctl.manifest import Manifest, read_manifest
from tumorctl.types import Precision

BATCH_SIZE = 16
ROUNDS = 8


def candidates(manifest: Manifest) -> dict[str, dict[str, Run]]:
    """Each candidate's two networks."""
    made: dict[str, dict[str, Run]] = {
        "ONNX Runtime fp32": {name: onnx_runtime(manifest.onnx_path(name), BATCH_SIZE) for name in NETWORKS}
    }
    for precision in (Precision.fp32, Precision.bf16, Precision.int8):
        try:
            chosen = choose_precision(precision)
        except ModelError as error:
            print(f"without {precision.value}: {error}", file=sys.stderr)
            continue
        made[f"OpenVINO {precision.value}"] = {name: Network.of(manifest, name, chosen) for name in NETWORKS}
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--repository", type=Path, default=bundled_repository())
    parser.add_argument("--cache", type=Path, help="keep decoded slices here between runs")
    args = parser.parse_args()
    slices = load(args.data, args.cache)
    indices = slices.indices_of(read_split().validation(args.fold))
    images, masks = slices.images[indices], slices.masks[indices]
    patients = [slices.patients[index] for index in indices]
    manifest = read_manifest(args.repository)
    made = candidates(manifest)
    batch = np.ascontiguousarray(images[masks.any(axis=(1, 2))][:BATCH_SIZE])
    fastest = {name: dict.fromkeys(NETWORKS, float("inf")) for name in made}
    for _ in range(ROUNDS):
        for name, networks in made.items():
            for network, run in networks.items():
                started = time.perf_counter()
                run(batch)
                spent = (time.perf_counter() - started) / len(batch) * 1000
                fastest[name][network] = min(fastest[name][network], spent)
    table = Table(title=f"{len(images)} validation slices; {processor()}", title_justify="left")
    for column in ("engine", "classifier, ms", "segmenter, ms", "mean Dice", "change"):
        table.add_column(column, justify="left" if column == "engine" else "right")
    reference = None
    for name, networks in made.items():
        passed = networks[CLASSIFIER](images)[:, 0] >= np.float32(manifest.gate_threshold)
        predicted = np.zeros_like(masks)
        predicted[passed] = networks[SEGMENTER](images[passed]) >= np.float32(manifest.mask_threshold)
        dice = float(np.mean(list(patient_dice(predicted, masks, patients).values())))
        reference = dice if reference is None else reference
        table.add_row(
            name,
            f"{fastest[name][CLASSIFIER]:.1f}",
            f"{fastest[name][SEGMENTER]:.1f}",
            f"{dice:.4f}",
            f"{dice - reference:+.4f}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
