"""What each precision of the served networks costs in quality, and what it brings on this processor.

    python benchmarks/precision.py DATA [--fold 0] [--repository DIR] [--cache DIR] [--json FILE]

The graphs are those that `tumorctl export tensorrt` hands to TensorRT. int8 is calibrated on the fold's training
patients; all figures are of its validation patients, end to end with the gate, at the shipped thresholds. Test patients
are not looked at. ONNX Runtime on a processor rounds half precision weights and images and computes in single
precision, so its fp16 figures do not hold every rounding that a GPU makes; the export compares each engine itself.
Exit status 1: a precision loses more than is allowed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from machine import processor
from rich.console import Console
from rich.table import Table

from tumor_export.agreement import Run, onnx_runtime
from tumor_export.arithmetic import EnginePrecision
from tumor_export.precision import prepare_graph
from tumor_export.slices import CALIBRATION_SLICES, spread
from tumor_training.dataset import load
from tumor_training.scoring import patient_dice, slice_auc
from tumor_training.splits import read_split
from tumorctl.config import bundled_repository
from tumorctl.contract import CLASSIFIER, NETWORKS, SEGMENTER
from tumorctl.engines.openvino import Network
from tumorctl.manifest import read_manifest
from tumorctl.types import Precision

MAX_LOSS = {"fp32": 0.0005, "fp16": 0.005, "int8": 0.01}
"""Loss of mean Dice against the shipped files that a precision may cost."""
TIMED_SLICES = 16
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Figures:
    """One row.

    Attributes:
        graph: precision of the graph, or ``shipped``.
        runtime: what ran it.
        dice: mean volume Dice over patients.
        dice_change: against the shipped files.
        auc: of the classifier over slices.
        auc_change: against the shipped files.
        passed: slices that the gate lets through.
        max_probability_change: of a slice, against the shipped files.
        classifier_ms: a slice, fastest of several rounds.
        segmenter_ms: likewise.
    """

    graph: str
    runtime: str
    dice: float
    dice_change: float
    auc: float
    auc_change: float
    passed: int
    max_probability_change: float
    classifier_ms: float
    segmenter_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """What is scored: uint8 images, bool masks, a patient each, and the shipped thresholds."""

    images: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.bool_]
    patients: list[str]
    gate_threshold: float
    mask_threshold: float


def score(networks: Mapping[str, Run], slices: Slices) -> tuple[float, float, npt.NDArray[np.float32], int]:
    """Mean Dice, AUC, the classifier's probabilities, and how many slices passed."""
    probabilities = networks[CLASSIFIER](slices.images)[:, 0]
    passed = probabilities >= np.float32(slices.gate_threshold)
    predicted = np.zeros_like(slices.masks)
    predicted[passed] = networks[SEGMENTER](slices.images[passed]) >= np.float32(slices.mask_threshold)
    dice = float(np.mean(list(patient_dice(predicted, slices.masks, slices.patients).values())))
    auc = slice_auc(probabilities, slices.masks.any(axis=(1, 2)))
    return dice, auc, probabilities, int(passed.sum())


def fastest_ms(
    candidates: Mapping[tuple[str, str], Mapping[str, Run]], images: npt.NDArray[np.uint8]
) -> dict[tuple[str, str, str], float]:
    """Milliseconds a slice of each network of each candidate, the fastest of interleaved rounds."""
    fastest: dict[tuple[str, str, str], float] = {}
    for _ in range(ROUNDS):
        for key, networks in candidates.items():
            for network, run in networks.items():
                started = time.perf_counter()
                run(images)
                spent = (time.perf_counter() - started) / len(images) * 1000
                where = (*key, network)
                fastest[where] = min(spent, fastest.get(where, spent))
    return fastest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--repository", type=Path, default=None)
    parser.add_argument("--cache", type=Path, default=None, help="keep decoded slices here between runs")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    args = parser.parse_args()
    data, split = load(args.data, args.cache), read_split()
    manifest = read_manifest(args.repository or bundled_repository())
    manifest.verify()
    where = data.indices_of(split.validation(args.fold))
    slices = Slices(
        data.images[where],
        data.masks[where],
        [data.patients[index] for index in where],
        manifest.gate_threshold,
        manifest.mask_threshold,
    )
    calibration = data.images[spread(data.indices_of(split.train(args.fold)), CALIBRATION_SLICES)]
    with tempfile.TemporaryDirectory() as temporary:
        graphs = {name: {"shipped": manifest.onnx_path(name)} for name in NETWORKS}
        for name in NETWORKS:
            for precision in EnginePrecision:
                graphs[name][precision.value] = Path(temporary) / f"{name}_{precision.value}.onnx"
                prepare_graph(manifest.onnx_path(name), graphs[name][precision.value], precision, calibration)
        candidates: dict[tuple[str, str], dict[str, Run]] = {}
        for graph in ("shipped", "fp32", "fp16", "int8"):
            candidates[graph, "ONNX Runtime"] = {name: onnx_runtime(graphs[name][graph]) for name in NETWORKS}
        for graph in ("shipped", "int8"):
            candidates[graph, "OpenVINO"] = {
                name: Network(name, graphs[name][graph], Precision.fp32) for name in NETWORKS
            }
        timed = np.ascontiguousarray(slices.images[slices.masks.any(axis=(1, 2))][:TIMED_SLICES])
        spent = fastest_ms(candidates, timed)
        rows: list[Figures] = []
        reference: tuple[float, float, npt.NDArray[np.float32], int] | None = None
        for (graph, runtime), networks in candidates.items():
            found = score(networks, slices)
            reference = reference or found
            rows.append(
                Figures(
                    graph=graph,
                    runtime=runtime,
                    dice=found[0],
                    dice_change=found[0] - reference[0],
                    auc=found[1],
                    auc_change=found[1] - reference[1],
                    passed=found[3],
                    max_probability_change=float(np.abs(found[2] - reference[2]).max()),
                    classifier_ms=spent[graph, runtime, CLASSIFIER],
                    segmenter_ms=spent[graph, runtime, SEGMENTER],
                )
            )
    show(rows, f"networks version {manifest.version}, {len(where)} validation slices; {processor()}")
    if args.json:
        content = {"version": manifest.version, "machine": processor(), "rows": [asdict(row) for row in rows]}
        args.json.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    lost = [row for row in rows if row.graph in MAX_LOSS and -row.dice_change > MAX_LOSS[row.graph]]
    for row in lost:
        print(f"{row.graph} in {row.runtime} loses {-row.dice_change:.4f} of mean Dice", file=sys.stderr)
    sys.exit(1 if lost else 0)


def show(rows: list[Figures], title: str) -> None:
    """The table."""
    table = Table(title=title, title_justify="left")
    columns = (
        "graph",
        "runtime",
        "mean Dice",
        "change",
        "AUC",
        "change",
        "passed",
        "probability",
        "classifier, ms",
        "segmenter, ms",
    )
    for column in columns:
        table.add_column(column, justify="left" if column in columns[:2] else "right")
    for row in rows:
        table.add_row(
            row.graph,
            row.runtime,
            f"{row.dice:.4f}",
            f"{row.dice_change:+.4f}",
            f"{row.auc:.4f}",
            f"{row.auc_change:+.4f}",
            str(row.passed),
            f"{row.max_probability_change:.4f}",
            f"{row.classifier_ms:.1f}",
            f"{row.segmenter_ms:.1f}",
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
