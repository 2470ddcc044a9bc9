"""From the networks of a model repository to engines in it: prepared, built, read back, compared, put in place."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tumor_export.agreement import (
    Parity,
    ParityError,
    Tolerance,
    compare_masks,
    compare_probabilities,
    onnx_runtime,
)
from tumor_export.arithmetic import EnginePrecision
from tumor_export.engines.gpu import Gpu
from tumor_export.engines.layers import check_precisions
from tumor_export.precision import expected_types, prepare_graph, read_graph
from tumor_export.repository import write_engine_manifest, write_engine_names
from tumorctl.contract import CLASSIFIER, NETWORKS
from tumorctl.errors import OutputError
from tumorctl.manifest import Manifest, read_manifest, sha256_of
from tumorctl.outputs.files import write_whole

logger = logging.getLogger(__name__)

ENGINE = Tolerance(max_error=1e-2, min_dice=0.995)
"""How far an engine may be from ONNX Runtime on the graph it was built from, in any precision."""
GRAPH = {
    EnginePrecision.fp32: Tolerance(max_error=1e-3, min_dice=0.999),
    EnginePrecision.fp16: ENGINE,
    EnginePrecision.int8: Tolerance(max_error=0.25, min_dice=0.95),
}
"""How far a graph in a precision may be from the shipped file, slice by slice. What a precision costs in quality, over
whole patients, is measured by benchmarks/precision.py; this only catches graphs that went wrong."""


class Compiled(Protocol):
    """What a toolchain makes of a graph; see `tumor_export.engines.builder.Built`."""

    @property
    def plan(self) -> bytes:
        """Serialized engine."""

    @property
    def inspected(self) -> str:
        """The engine inspector's JSON."""

    @property
    def log(self) -> str:
        """What the builder said."""

    @property
    def seconds(self) -> float:
        """That the build took."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """TensorRT and a GPU, or what stands in for them.

    Attributes:
        tensorrt: version.
        gpu: that builds and runs.
        build: a graph, and a timing cache or None, to an engine.
        answers: a plan's answers to slices.
    """

    tensorrt: str
    gpu: Gpu
    build: Callable[[Path, Path | None], Compiled]
    answers: Callable[[bytes, npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class EngineFile:
    """An engine in its place.

    Attributes:
        path: the file.
        precision: of its convolutions.
        convolutions: how many compute in each precision, as read back from the engine.
        parity: with ONNX Runtime on the same graph.
        graph_parity: of that graph with the shipped file, both in ONNX Runtime.
        seconds: that the build took.
    """

    path: Path
    precision: EnginePrecision
    convolutions: Mapping[str, int]
    parity: Parity
    graph_parity: Parity
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """What the manifest says of it, apart from what it was built with."""
        return {
            "file": self.path.name,
            "sha256": sha256_of(self.path),
            "bytes": self.path.stat().st_size,
            "precision": self.precision.value,
            "convolutions": dict(self.convolutions),
            "parity": self.parity.to_dict(),
            "graph_parity": self.graph_parity.to_dict(),
        }


def build_engines(
    repository: Path,
    toolchain: Toolchain,
    precision: EnginePrecision,
    images: npt.NDArray[np.uint8],
    *,
    calibration: npt.NDArray[np.uint8] | None = None,
    timing_cache: Path | None = None,
) -> dict[str, EngineFile]:
    """Build, check and install an engine of each network.

    Nothing in the repository changes before both engines are built and have passed every check.

    Args:
        repository: model repository; its ONNX files are checked against its manifest.
        toolchain: what builds.
        precision: of the engines.
        images: slices to compare on, uint8, shape (slice, 256, 256, 3).
        calibration: development slices, for int8.
        timing_cache: file that TensorRT's timings are kept in between builds.

    Raises:
        DamagedModel: an ONNX file differs from its digest.
        BuildError: an engine could not be built, or does not compute in what was asked.
        ParityError: a graph or an engine does not answer as it should.
        InvalidInput: int8 without slices to calibrate on.
        OutputError: a file could not be written.
    """
    manifest = read_manifest(repository)
    manifest.verify()
    name = f"model_{toolchain.gpu.tag}.plan"
    with _folder_in(repository) as aside:
        made: dict[str, EngineFile] = {}
        for network in NETWORKS:
            folder = aside / network
            folder.mkdir()
            made[network] = _build_one(
                manifest, network, folder / name, toolchain, precision, images, calibration, timing_cache
            )
        entries: dict[str, dict[str, Any]] = {}
        placed: dict[str, EngineFile] = {}
        for network, engine in made.items():
            place = manifest.onnx_path(network).with_name(name)
            entries[network] = {
                **engine.to_dict(),
                "onnx_sha256": manifest.digests[network],
                "tensorrt": toolchain.tensorrt,
                "cuda": toolchain.gpu.cuda,
                "driver": toolchain.gpu.driver,
                "gpu": toolchain.gpu.name,
                "compute_capability": toolchain.gpu.compute_capability,
            }
            _move(engine.path, place)
            _move(engine.path.with_suffix(".log"), place.with_suffix(".log"))
            placed[network] = EngineFile(
                place, precision, engine.convolutions, engine.parity, engine.graph_parity, engine.seconds
            )
    for network in NETWORKS:
        write_engine_names(repository, network, {toolchain.gpu.compute_capability: name})
    write_engine_manifest(repository, toolchain.gpu.tag, entries)
    return placed


def _build_one(
    manifest: Manifest,
    network: str,
    plan: Path,
    toolchain: Toolchain,
    precision: EnginePrecision,
    images: npt.NDArray[np.uint8],
    calibration: npt.NDArray[np.uint8] | None,
    timing_cache: Path | None,
) -> EngineFile:
    shipped, graph = manifest.onnx_path(network), plan.with_suffix(".onnx")
    logger.info("%s: preparing the graph in %s", network, precision.value)
    prepare_graph(shipped, graph, precision, calibration)
    wanted = onnx_runtime(graph)(images)
    graph_parity = compare(
        network, f"{network} in {precision.value}", onnx_runtime(shipped)(images), wanted, manifest, GRAPH[precision]
    )
    logger.info("%s: building, which takes a minute or more", network)
    built = toolchain.build(graph, timing_cache)
    report = {"onnx": graph.name, "inspected": _parsed(built.inspected)}
    write_whole(plan.with_suffix(".log"), f"{built.log}\n\n{json.dumps(report, indent=1)}\n".encode())
    convolutions = check_precisions(expected_types(read_graph(graph)), built.inspected)
    logger.info("%s: comparing %d slices with ONNX Runtime", network, len(images))
    got = toolchain.answers(built.plan, images)
    parity = compare(network, f"the engine of {network}", wanted, got, manifest, ENGINE)
    write_whole(plan, built.plan)
    return EngineFile(plan, precision, convolutions, parity, graph_parity, built.seconds)


def compare(
    network: str,
    name: str,
    wanted: npt.NDArray[np.float32],
    got: npt.NDArray[np.float32],
    manifest: Manifest,
    tolerance: Tolerance,
) -> Parity:
    """Compare a network's answers as its kind is compared.

    Raises:
        ParityError: they differ by more than allowed.
    """
    if wanted.shape != got.shape:
        raise ParityError(f"{name}: answers have shape {got.shape} instead of {wanted.shape}")
    if network == CLASSIFIER:
        return compare_probabilities(name, wanted, got, tolerance)
    return compare_masks(name, wanted, got, manifest.mask_threshold, tolerance)


@contextlib.contextmanager
def _folder_in(repository: Path) -> Iterator[Path]:
    """A folder on the repository's own file system, gone afterwards."""
    try:
        folder = Path(tempfile.mkdtemp(dir=repository, prefix=".engines-"))
    except OSError as error:
        raise OutputError(f"{repository} cannot be written to ({error.strerror})") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except OSError as error:
        raise OutputError(f"{target} could not be written ({error.strerror})") from error


def _parsed(inspected: str) -> Any:
    try:
        return json.loads(inspected)
    except ValueError:
        return inspected
