"""Acceptance on a GPU server: engines built, served, checked against ONNX Runtime, and loaded.

    make gpu-acceptance                           # or: python benchmarks/acceptance.py [--data DATA] [--release 26.07]
    python benchmarks/acceptance.py --cpu         # the same on the embedded Triton: all but TensorRT

builds the engines in a copy of the model repository, starts Triton with it (what is installed here, or NVIDIA's
containers), compares what is served with ONNX Runtime on the same ONNX files, and measures throughput and latency at
each number of clients, of three ways to get masks: the gated ensemble, the ensemble with its gate open, and two calls
of a client (classifier, then segmenter on what passes). Ratios are between figures of the same run. With --url, a
server that runs already is measured. Exit status 1: what is served differs, or requests failed.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import gpu_server
import numpy as np
from load_generator import Call, Images, Limits, Load, always_segmented, gated, measure, two_calls
from machine import processor
from rich.console import Console
from rich.table import Table

from tumor_export.agreement import Tolerance, onnx_runtime
from tumor_export.arithmetic import EnginePrecision
from tumor_export.engines.build import GRAPH
from tumor_export.slices import slices_for
from tumorctl import TumorClient, TumorctlError
from tumorctl.config import bundled_repository
from tumorctl.contract import CLASSIFIER, ENSEMBLE, GATE_THRESHOLD_PARAMETER, IMAGE, SEGMENTER
from tumorctl.manifest import Manifest, read_manifest
from tumorctl.serving.triton import LOOPBACK, ServeOptions, TritonServer
from tumorctl.types import Precision

RELEASE = "26.07"
GATED, ALWAYS, TWO_CALLS = "gated ensemble", "gate open", "two calls"


@dataclass(frozen=True, slots=True)
class Served:
    """How what is served compares with ONNX Runtime.

    Attributes:
        slices: compared.
        segmented: by both.
        max_error: largest difference of a slice's probability.
        gate_differs: slices that only one let through, though their probability is not at the threshold.
        dice: of all masks of slices that both let through; 1 where there are none.
        allowed: what is accepted.
    """

    slices: int
    segmented: int
    max_error: float
    gate_differs: int
    dice: float
    allowed: Tolerance = GRAPH[EnginePrecision.fp16]

    @property
    def ok(self) -> bool:
        """Whether it is the same answer."""
        close = self.max_error <= self.allowed.max_error and self.dice >= self.allowed.min_dice
        return close and self.gate_differs == 0


def compare_served(url: str, manifest: Manifest, images: Images, allowed: Tolerance) -> Served:
    """Compare what a server answers with ONNX Runtime on the repository's ONNX files."""
    probabilities = onnx_runtime(manifest.onnx_path(CLASSIFIER))(images)[:, 0]
    passed = probabilities >= np.float32(manifest.gate_threshold)
    with TumorClient(url) as client:
        answers = list(client.predict(images))
    got = np.array([answer.tumor_probability for answer in answers], np.float32)
    got_passed = np.array([answer.segmented for answer in answers])
    at_threshold = np.abs(probabilities - np.float32(manifest.gate_threshold)) <= allowed.max_error
    both = np.flatnonzero(passed & got_passed)
    wanted = onnx_runtime(manifest.onnx_path(SEGMENTER))(images[both]) >= np.float32(manifest.mask_threshold)
    masks = [answers[index].mask for index in both]
    overlap = sum(int((a & b).sum()) for a, b in zip(wanted, masks, strict=True) if b is not None)
    total = int(wanted.sum()) + sum(int(mask.sum()) for mask in masks if mask is not None)
    return Served(
        slices=len(images),
        segmented=len(both),
        max_error=float(np.abs(probabilities - got).max()),
        gate_differs=int(((passed != got_passed) & ~at_threshold).sum()),
        dice=2 * overlap / total if total else 1.0,
        allowed=allowed,
    )


@contextmanager
def embedded(repository: Path, folder: Path) -> Iterator[str]:
    """The embedded Triton on free ports; its gRPC address."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(3)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        grpc_port, http_port, metrics_port = (probe.getsockname()[1] for probe in probes)
    options = ServeOptions(
        repository=repository.absolute(),
        log_file=folder / "triton.log",
        grpc_port=grpc_port,
        http_port=http_port,
        metrics_port=metrics_port,
        precision=Precision.fp32,
    )
    with TritonServer(options) as server:
        yield server.grpc_url


@contextmanager
def on_gpu(args: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Engines and a Triton that serves them; its gRPC address."""
    repository = folder / "model_repository"
    shutil.copytree(args.repository, repository, ignore=shutil.ignore_patterns("__pycache__", "*.plan"))
    gpu_server.build_engines(gpu_server.build_command(repository, args.precision, args.release, args.data))
    engines = json.loads((repository / "manifest.json").read_text("utf-8"))["models"][CLASSIFIER]["engines"]
    print(f"engines: {json.dumps(engines)}", file=sys.stderr)
    with gpu_server.serving(gpu_server.server_command(repository, args.release), folder / "triton.log"):
        yield f"{LOOPBACK}:{gpu_server.GRPC_PORT}"


def measure_all(url: str, manifest: Manifest, images: Images, args: argparse.Namespace) -> list[Load]:
    """Every way at every number of clients; the ways take turns, so that they meet the same machine."""
    ways: dict[str, Call] = {
        GATED: gated,
        ALWAYS: always_segmented,
        TWO_CALLS: two_calls(manifest.gate_threshold, manifest.mask_threshold),
    }
    limits = Limits(requests=args.requests, seconds=args.seconds)
    return [
        measure(way, call, url, images, args.batch, concurrency, limits)
        for concurrency in args.concurrency
        for way, call in ways.items()
    ]


def perf_analyzer_command(url: str, folder: Path, open_gate: bool, args: argparse.Namespace) -> list[str]:
    """How NVIDIA's perf_analyzer measures the ensemble; it has no way to make two calls."""
    return [
        *("perf_analyzer", "-m", ENSEMBLE, "-u", url, "-i", "grpc", "-b", str(args.batch)),
        *("--concurrency-range", f"1:{max(args.concurrency)}:{max(1, max(args.concurrency) // 8)}"),
        *("--input-data", str(folder / "slices.json"), "--measurement-interval", str(int(args.seconds * 1000))),
        *("--percentile", "99", "-f", str(folder / f"perf-{open_gate}.csv")),
        *(("--request-parameter", f"{GATE_THRESHOLD_PARAMETER}:0:int") if open_gate else ()),
    ]


def write_slices(path: Path, images: Images) -> None:
    """Slices as perf_analyzer reads them."""
    data = [{IMAGE: {"content": image.ravel().tolist(), "shape": list(image.shape)}} for image in images]
    path.write_text(json.dumps({"data": data}), "utf-8")


def read_perf_analyzer(path: Path, way: str, batch: int) -> list[dict[str, float | str]]:
    """perf_analyzer's table: clients, slices a second, and percentiles in milliseconds."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {
            "way": way,
            "concurrency": int(row["Concurrency"]),
            "slices_per_second": float(row["Inferences/Second"]),
            "p50_ms": float(row["p50 latency"]) / 1000,
            "p99_ms": float(row["p99 latency"]) / 1000,
            "batch": batch,
        }
        for row in rows
    ]


def perf_analyzer(url: str, images: Images, args: argparse.Namespace, folder: Path) -> list[dict[str, float | str]]:
    """perf_analyzer's figures, where it is on PATH; none elsewhere or where it fails."""
    if shutil.which("perf_analyzer") is None:
        return []
    write_slices(folder / "slices.json", images)
    found: list[dict[str, float | str]] = []
    for way, open_gate in ((GATED, False), (ALWAYS, True)):
        command = perf_analyzer_command(url, folder, open_gate, args)
        try:
            subprocess.run(command, check=True, timeout=3600, stdout=sys.stderr)
            found += read_perf_analyzer(folder / f"perf-{open_gate}.csv", way, args.batch)
        except (OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
            print(f"perf_analyzer gave no figures for {way} ({type(error).__name__})", file=sys.stderr)
    return found


def show(served: Served, loads: list[Load], others: list[dict[str, float | str]], title: str, batch: int) -> None:
    """The tables."""
    console = Console(width=120)
    console.print(
        f"{title}\nserved against ONNX Runtime: {served.slices} slices, probabilities off by at most "
        f"{served.max_error:.2g}, {served.gate_differs} others at the gate, masks of {served.segmented} slices agree "
        f"with Dice {served.dice:.5f}: {'ok' if served.ok else 'NOT the same'}",
        highlight=False,
    )
    table = Table(title=f"closed loop, {batch} slices a request", title_justify="left")
    table.add_column("way")
    for column in ("clients", "requests", "failed", "segmented", "slices/s", "against gate open", "p50, ms", "p99, ms"):
        table.add_column(column, justify="right")
    for load in loads:
        base = next(other for other in loads if (other.way, other.concurrency) == (ALWAYS, load.concurrency))
        ratio = load.slices_per_second / base.slices_per_second if base.slices_per_second else float("nan")
        table.add_row(
            load.way,
            str(load.concurrency),
            str(load.requests),
            str(load.failed),
            f"{load.segmented / load.slices:.0%}" if load.slices else "",
            f"{load.slices_per_second:.1f}",
            f"{ratio:.2f}",
            f"{load.p50_ms:.1f}",
            f"{load.p99_ms:.1f}",
        )
    console.print(table)
    for row in others:
        console.print(
            f"perf_analyzer, {row['way']}, {row['concurrency']} clients: {row['slices_per_second']:.1f} slices/s, "
            f"p50 {row['p50_ms']:.1f} ms, p99 {row['p99_ms']:.1f} ms",
            highlight=False,
        )


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="the embedded Triton instead of TensorRT; few requests")
    parser.add_argument("--url", help="a server that runs already, HOST:PORT; nothing is built or started")
    parser.add_argument("--repository", type=Path, default=None, help="by default the bundled one")
    parser.add_argument("--data", type=Path, default=None, help="in the Kaggle layout; by default made-up brains")
    parser.add_argument("--precision", choices=["fp32", "fp16", "int8"], default="fp16")
    parser.add_argument("--release", default=RELEASE, help="of NVIDIA's containers")
    parser.add_argument("--concurrency", type=lambda text: [int(part) for part in text.split(",")], default=None)
    parser.add_argument("--batch", type=int, default=1, help="slices in a request")
    parser.add_argument("--requests", type=int, default=None, help="most requests in a measurement")
    parser.add_argument("--seconds", type=float, default=20.0, help="longest measurement")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    args = parser.parse_args(arguments)
    args.repository = args.repository or bundled_repository()
    args.concurrency = args.concurrency or ([1, 2, 4] if args.cpu else [1, 2, 4, 8, 16, 32, 64])
    args.requests = args.requests or (40 if args.cpu else 5000)
    if min(args.concurrency) < 1 or args.batch < 1 or args.seconds <= 0:
        parser.error("clients, slices and seconds must be positive")
    return args


def main() -> None:
    args = parse_arguments()
    manifest = read_manifest(args.repository)
    images, _ = slices_for(args.repository, args.data)
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        try:
            if args.url:
                url = args.url
            else:
                url = stack.enter_context(embedded(args.repository, folder) if args.cpu else on_gpu(args, folder))
            allowed = GRAPH[EnginePrecision.fp16 if args.cpu else EnginePrecision(args.precision)]
            served = compare_served(url, manifest, images, allowed)
            loads = measure_all(url, manifest, images, args)
            others = perf_analyzer(url, images, args, folder)
        except TumorctlError as error:
            sys.exit(f"error: {error}")
    what = args.url or ("embedded Triton, OpenVINO fp32" if args.cpu else f"TensorRT {args.precision}")
    title = f"networks version {manifest.version}; {what}; {processor()}"
    show(served, loads, others, title, args.batch)
    if args.json:
        content = {
            "version": manifest.version,
            "served_by": what,
            "machine": processor(),
            "batch": args.batch,
            "served": {**asdict(served), "ok": served.ok},
            "loads": [{**asdict(load), "slices_per_second": load.slices_per_second} for load in loads],
            "perf_analyzer": others,
        }
        args.json.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    sys.exit(0 if served.ok and not any(load.failed for load in loads) else 1)


if __name__ == "__main__":
    main()
