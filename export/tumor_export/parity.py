"""Does the exported graph answer as the trained network does? On real slices, in ONNX Runtime."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from tumor_export.onnx import ServedNetwork, output_name
from tumorctl.contract import IMAGE
from tumorctl.errors import ModelError

MAX_PROBABILITY_ERROR = 1e-3
MIN_DICE = 0.999
_BATCH = 16


@dataclass(frozen=True, slots=True)
class Parity:
    """How far an exported graph is from its network.

    Attributes:
        slices: real slices compared.
        max_error: largest difference of a probability, over slices or pixels.
        dice: Dice of all masks together at the threshold; 1 for the classifier.
    """

    slices: int
    max_error: float
    dice: float

    def to_dict(self) -> dict[str, float]:
        """Plain values."""
        return asdict(self)


class ParityError(ModelError):
    """The exported graph does not answer as the trained network does."""


def compare_classifier(network: ServedNetwork, path: Path, images: npt.NDArray[np.uint8]) -> Parity:
    """Compare a classifier with its ONNX file; see `MAX_PROBABILITY_ERROR`.

    Args:
        network: what was exported.
        path: its ONNX file.
        images: real slices, uint8, shape (slice, 256, 256, 3).

    Raises:
        ParityError: a probability differs by more than allowed.
    """
    wanted, got = _both(network, path, images)
    parity = Parity(len(images), float(np.abs(wanted - got).max()), 1.0)
    if not parity.max_error <= MAX_PROBABILITY_ERROR:  # so that NaN fails
        raise ParityError(f"{path.name}: a probability is off by {parity.max_error:.2g}")
    return parity


def compare_segmenter(
    network: ServedNetwork, path: Path, images: npt.NDArray[np.uint8], mask_threshold: float
) -> Parity:
    """Compare a segmenter with its ONNX file; see `MIN_DICE`.

    Where neither finds any tumour there are no masks to compare; the probabilities themselves must then agree as a
    classifier's.

    Args:
        network: what was exported.
        path: its ONNX file.
        images: real slices, uint8, shape (slice, 256, 256, 3).
        mask_threshold: probability from which a pixel is tumour.

    Raises:
        ParityError: the masks, all together, agree less than required, or a probability is not a number.
    """
    wanted, got = _both(network, path, images)
    a, b = wanted >= np.float32(mask_threshold), got >= np.float32(mask_threshold)
    total = a.sum() + b.sum()
    dice = float(2 * (a & b).sum() / total) if total else 1.0
    parity = Parity(len(images), float(np.abs(wanted - got).max()), dice)
    if not (parity.max_error <= MAX_PROBABILITY_ERROR if not total else np.isfinite(parity.max_error)):
        raise ParityError(f"{path.name}: a probability is off by {parity.max_error:.2g}")
    if parity.dice < MIN_DICE:
        raise ParityError(f"{path.name}: masks agree with Dice {parity.dice:.5f} only")
    return parity


def _both(
    network: ServedNetwork, path: Path, images: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted, got = [], []
    network.eval()
    for start in range(0, len(images), _BATCH):
        batch = np.ascontiguousarray(images[start : start + _BATCH])
        with torch.inference_mode():
            wanted.append(network(torch.from_numpy(batch)).numpy())
        got.append(session.run([output_name(network)], {IMAGE: batch})[0])
    return np.concatenate(wanted), np.concatenate(got)
