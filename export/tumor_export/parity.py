"""Does the exported graph answer as the trained network does? On real slices, in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from tumor_export.agreement import Parity, Tolerance, compare_masks, compare_probabilities, onnx_runtime
from tumor_export.onnx import ServedNetwork

TOLERANCE = Tolerance(max_error=1e-3, min_dice=0.999)
_BATCH = 16


def compare_classifier(network: ServedNetwork, path: Path, images: npt.NDArray[np.uint8]) -> Parity:
    """Compare a classifier with its ONNX file; see `TOLERANCE`.

    Args:
        network: what was exported.
        path: its ONNX file.
        images: real slices, uint8, shape (slice, 256, 256, 3).

    Raises:
        ParityError: a probability differs by more than allowed.
    """
    return compare_probabilities(path.name, _answers(network, images), onnx_runtime(path)(images), TOLERANCE)


def compare_segmenter(
    network: ServedNetwork, path: Path, images: npt.NDArray[np.uint8], mask_threshold: float
) -> Parity:
    """Compare a segmenter with its ONNX file; see `TOLERANCE` and `compare_masks`.

    Args:
        network: what was exported.
        path: its ONNX file.
        images: real slices, uint8, shape (slice, 256, 256, 3).
        mask_threshold: probability from which a pixel is tumour.

    Raises:
        ParityError: the masks, all together, agree less than required, or a probability is not a number.
    """
    return compare_masks(path.name, _answers(network, images), onnx_runtime(path)(images), mask_threshold, TOLERANCE)


def _answers(network: ServedNetwork, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    network.eval()
    parts = []
    for start in range(0, len(images), _BATCH):
        with torch.inference_mode():
            parts.append(network(torch.from_numpy(np.ascontiguousarray(images[start : start + _BATCH]))).numpy())
    return np.concatenate(parts)
