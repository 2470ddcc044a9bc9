"""The ranges that int8 arithmetic needs: what each convolution of a network reads, on development slices."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization.calibrate import CalibrationDataReader, create_calibrator

from tumorctl.contract import IMAGE

_BATCH = 4


class SliceReader(CalibrationDataReader):  # type: ignore[misc]
    """Hands slices to ONNX Runtime's calibration in batches.

    Args:
        images: uint8, shape (slice, 256, 256, 3).
    """

    def __init__(self, images: npt.NDArray[np.uint8]) -> None:
        self._left = iter(np.array_split(images, max(1, len(images) // _BATCH)))

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        """The next batch; None after the last."""
        batch = next(self._left, None)
        return None if batch is None else {IMAGE: np.ascontiguousarray(batch)}


def measure_ranges(network: Path, images: npt.NDArray[np.uint8]) -> dict[str, tuple[float, float]]:
    """Least and greatest value that each convolution of a network reads.

    Args:
        network: ONNX file.
        images: development slices, uint8, shape (slice, 256, 256, 3).

    Returns:
        By the name of the tensor.
    """
    read = {node.input[0] for node in onnx.load(network).graph.node if node.op_type == "Conv"}
    with tempfile.TemporaryDirectory(prefix="tumorctl-ranges-") as folder:
        calibrator = create_calibrator(network, ["Conv"], str(Path(folder) / "observed.onnx"))
        calibrator.collect_data(SliceReader(images))
        measured = calibrator.compute_data()
    return {name: _as_range(measured[name].range_value) for name in sorted(read)}


def _as_range(values: Sequence[npt.NDArray[np.float32]]) -> tuple[float, float]:
    least, greatest = (float(np.asarray(value).reshape(-1)[0]) for value in values)
    return least, greatest
