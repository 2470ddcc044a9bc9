"""`tumorctl predict` against the bare engine: throughput, memory, start.

    python benchmarks/predict.py DATA [--slices 1000] [--rounds 3]

DATA is a folder of studies, such as the LGG set in the Kaggle layout. Each round times the bare local engine on decoded
batches in memory, and then `tumorctl predict` as a process on the same slices on disk, so that the ratio holds when the
machine's speed drifts. Memory is the peak of the process, at the number of slices and at three times as many.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import numpy as np
import numpy.typing as npt
from machine import processor
from rich.console import Console
from rich.table import Table

from tumorctl.config import bundled_repository
from tumorctl.engines.local import LocalEngine
from tumorctl.io.discovery import SliceFile, discover
from tumorctl.io.slices import read_slice

BATCH_SIZE = 16
TUMORCTL = Path(sys.executable).with_name("tumorctl")


def take_slices(data: Path, count: int) -> list[SliceFile]:
    """Slices of whole studies, in a fixed shuffled order of studies; repeated where the data has fewer."""
    found = [item for item in discover([data]) if isinstance(item, SliceFile)]
    studies = sorted({item.study for item in found})
    np.random.default_rng(0).shuffle(studies)
    ordered = [item for study in studies for item in found if item.study == study]
    return [ordered[index % len(ordered)] for index in range(count)]


def link(slices: list[SliceFile], folder: Path) -> Path:
    """A folder with links to the slices, one folder a study."""
    for index, item in enumerate(slices):
        place = folder / f"{item.study}-{index // 2000}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index}_{item.path.name}").symlink_to(item.path.resolve())
    return folder


def bare_engine(engine: LocalEngine, batches: list[npt.NDArray[np.uint8]]) -> float:
    """Slices per second of the engine alone."""
    started = time.perf_counter()
    waiting = deque(engine.submit(batch, gate_threshold=None, timeout_s=600) for batch in batches)
    while waiting:
        waiting.popleft().result()
    return sum(map(len, batches)) / (time.perf_counter() - started)


def run_predict(folder: Path, output: Path) -> tuple[float, float, float]:
    """Slices per second within the run and of the whole process, and peak memory in MB."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [TUMORCTL, "predict", folder, "--output", output, "--json"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    summary = json.loads(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    count = summary["counts"]["slices"]
    seconds = time.perf_counter() - started
    return summary["timings"]["slices_per_second"], count / seconds, usage.ru_maxrss / 1024


def start_seconds(*command: str) -> float:
    """Median seconds of a whole process, of 7 runs after one warm-up."""
    times = []
    for _ in range(8):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    slices = take_slices(args.data, args.slices)
    decoded = [read_slice(item.path) for item in slices]
    batches = [np.stack(decoded[start : start + BATCH_SIZE]) for start in range(0, len(decoded), BATCH_SIZE)]
    del decoded
    bare, within, whole, memory = [], [], [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = link(slices, Path(temporary) / "slices")
        for number in range(args.rounds):
            engine = LocalEngine(bundled_repository())
            engine.submit(batches[0], gate_threshold=0.0, timeout_s=600).result()
            bare.append(bare_engine(engine, batches))
            engine.close()
            rates = run_predict(folder, Path(temporary) / f"out-{number}")
            within.append(rates[0])
            whole.append(rates[1])
            memory.append(rates[2])
        more = link(take_slices(args.data, 3 * args.slices), Path(temporary) / "more")
        more_memory = run_predict(more, Path(temporary) / "out-more")[2]
    table = Table(title=f"{args.slices} slices, {args.rounds} rounds, medians; {processor()}", title_justify="left")
    for column in ("what", "value", "ratio"):
        table.add_column(column, justify="left" if column == "what" else "right")

    def ratio(rates: list[float]) -> str:
        return f"{statistics.median(rate / base for rate, base in zip(rates, bare, strict=True)):.3f}"

    table.add_row("bare engine, decoded batches", f"{statistics.median(bare):.1f} slices/s", "1")
    table.add_row("predict, within the run", f"{statistics.median(within):.1f} slices/s", ratio(within))
    table.add_row("predict, whole process", f"{statistics.median(whole):.1f} slices/s", ratio(whole))
    table.add_row(f"peak memory, {args.slices} slices", f"{statistics.median(memory):.0f} MB", "1")
    growth = more_memory / statistics.median(memory)
    table.add_row(f"peak memory, {3 * args.slices} slices", f"{more_memory:.0f} MB", f"{growth:.3f}")
    table.add_row("tumorctl --help", f"{start_seconds(str(TUMORCTL), '--help'):.3f} s", "")
    table.add_row("import tumorctl", f"{start_seconds(sys.executable, '-c', 'import tumorctl'):.3f} s", "")
    table.add_row("bare python", f"{start_seconds(sys.executable, '-c', 'pass'):.3f} s", "")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
