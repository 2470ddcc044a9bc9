"""The calls into TensorRT: from an ONNX graph to a serialized engine, what its layers are, and its answers.

Only what TensorRT 10.12 and 11 both have is used; mypy checks this file against the stubs of both, without a GPU
(tests/export/engines/test_stubs.py). What is done with the results is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import tensorrt as trt

from tumor_export.engines.errors import BuildError, OutOfGpuMemory, UnsupportedOnnx
from tumorctl.contract import CHANNELS, IMAGE, MAX_BATCH_SIZE, SIDE

logger = logging.getLogger(__name__)

BATCHES = (1, 8, MAX_BATCH_SIZE)
"""Smallest, usual and largest batch of the one optimization profile."""
_OUT_OF_MEMORY = ("out of memory", "outofmemory", "insufficient memory", "cudaerrormemoryallocation")


@dataclass(frozen=True, slots=True)
class Built:
    """A serialized engine.

    Attributes:
        plan: for Triton's TensorRT backend.
        inspected: the engine inspector's JSON, for batches of the usual size.
        log: what TensorRT said, one message a line.
        seconds: that the build took.
    """

    plan: bytes
    inspected: str
    log: str
    seconds: float


class _Log(trt.ILogger):
    """Keeps TensorRT's messages; passes warnings and errors on."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.lines: list[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """Called by TensorRT."""
        if severity != trt.ILogger.Severity.VERBOSE:
            self.lines.append(f"{severity.name}: {msg}")
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            logger.info("TensorRT: %s", msg)

    def error(self, happened: str) -> BuildError:
        """The typed error for a step that failed, with TensorRT's last error message."""
        said = [line for line in self.lines if line.startswith(("ERROR", "INTERNAL_ERROR"))]
        reason = said[-1].split(": ", 1)[1] if said else "TensorRT gives no reason"
        if any(sign in line.lower() for line in said for sign in _OUT_OF_MEMORY):
            return OutOfGpuMemory(f"{happened}: the GPU's memory is not enough; see who else uses it ({reason})")
        return BuildError(f"{happened}: {reason}")


def tensorrt_version() -> str:
    """Version of the TensorRT that is installed."""
    return str(trt.__version__)


def build(onnx: Path, timing_cache: Path | None = None) -> Built:
    """Build a strongly typed engine: it computes in the types that the graph has.

    Args:
        onnx: graph with one input, uint8, shape (batch, 256, 256, 3).
        timing_cache: read and written here, so that a second build of the same network is quick and the same.

    Raises:
        UnsupportedOnnx: TensorRT cannot read the graph.
        OutOfGpuMemory: the GPU's memory is not enough.
        BuildError: TensorRT failed.
    """
    started = time.monotonic()
    log = _Log()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx.read_bytes()):
        reasons = "; ".join(parser.get_error(index).desc() for index in range(min(parser.num_errors, 3)))
        raise UnsupportedOnnx(f"TensorRT {tensorrt_version()} cannot read {onnx.name}: {reasons}")
    config = builder.create_builder_config()
    # What was asked for in fp32 is computed in fp32.
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    profile = builder.create_optimization_profile()
    smallest, usual, largest = (trt.Dims((batch, SIDE, SIDE, CHANNELS)) for batch in BATCHES)
    profile.set_shape(IMAGE, smallest, usual, largest)
    config.add_optimization_profile(profile)
    kept = timing_cache.read_bytes() if timing_cache is not None and timing_cache.is_file() else b""
    if not config.set_timing_cache(config.create_timing_cache(kept), False):
        logger.warning("the timing cache %s is of another TensorRT or GPU and is started anew", timing_cache)
        config.set_timing_cache(config.create_timing_cache(b""), False)
    # None where it fails, whatever the bindings' signature says.
    serialized: trt.IHostMemory | None = builder.build_serialized_network(network, config)
    if serialized is None:
        raise log.error(f"no engine could be built of {onnx.name}")
    plan = _bytes(serialized)
    if timing_cache is not None:
        _write_cache(timing_cache, _bytes(config.get_timing_cache().serialize()))
    with _context(plan, log) as (engine, context):
        context.set_input_shape(IMAGE, (BATCHES[1], SIDE, SIDE, CHANNELS))
        inspector = engine.create_engine_inspector()
        inspector.execution_context = context
        inspected = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    return Built(plan, inspected, "\n".join(log.lines), time.monotonic() - started)


def answers(plan: bytes, images: npt.NDArray[np.uint8], batch_size: int = BATCHES[1]) -> npt.NDArray[np.float32]:
    """An engine's answers, in batches; the last may be shorter.

    Args:
        plan: serialized engine.
        images: uint8, shape (slice, 256, 256, 3).
        batch_size: slices at once, 1 to 64.

    Returns:
        float32, shape (slice, ...).

    Raises:
        BuildError: the engine cannot be run.
    """
    from polygraphy.backend.trt import TrtRunner
    from polygraphy.exception import PolygraphyException

    log = _Log()
    parts = []
    with _context(plan, log) as (_, context):
        try:
            with TrtRunner(context) as runner:
                for start in range(0, len(images), batch_size):
                    batch = np.ascontiguousarray(images[start : start + batch_size])
                    (answer,) = runner.infer({IMAGE: batch}).values()
                    parts.append(np.array(answer, np.float32))
        except PolygraphyException as error:
            raise log.error("the engine cannot be run") from error
    return np.concatenate(parts)


@contextlib.contextmanager
def _context(plan: bytes, log: _Log) -> Iterator[tuple[trt.ICudaEngine, trt.IExecutionContext]]:
    """An engine, loaded as the server will load it, and a context of it."""
    runtime = trt.Runtime(log)
    engine: trt.ICudaEngine | None = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise log.error("the engine that was built cannot be loaded")
    context: trt.IExecutionContext | None = engine.create_execution_context()
    if context is None:
        raise log.error("the engine cannot be made ready to run")
    yield engine, context


def _bytes(memory: trt.IHostMemory) -> bytes:
    # The bindings' buffers do not say that they are buffers.
    return bytes(cast("bytes", memory))


def _write_cache(path: Path, content: bytes) -> None:
    from tumorctl.outputs.files import write_whole

    write_whole(path, content)
