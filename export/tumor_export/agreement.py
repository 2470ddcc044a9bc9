"""Do two implementations of a network answer alike? One way to say it, wherever it is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tumorctl.contract import IMAGE
from tumorctl.errors import ModelError

Run = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""A network: probabilities, float32, shape (batch, ...), for uint8 slices, shape (batch, 256, 256, 3)."""
_BATCH = 4
"""ONNX Runtime keeps the memory of its largest batch: a segmenter's is 100 MB a slice and more."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far an implementation of a network is from another.

    Attributes:
        slices: slices compared.
        max_error: largest difference of a probability, over slices or pixels.
        dice: Dice of all masks together at the threshold; 1 for the classifier.
    """

    slices: int
    max_error: float
    dice: float

    def to_dict(self) -> dict[str, float]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What still counts as the same answer.

    Attributes:
        max_error: of a slice's probability, and of a pixel's where no mask can be compared.
        min_dice: of all masks together.
    """

    max_error: float
    min_dice: float


class ParityError(ModelError):
    """An implementation of a network does not answer as the one it was made from."""


def compare_probabilities(
    name: str, wanted: npt.NDArray[np.float32], got: npt.NDArray[np.float32], tolerance: Tolerance
) -> Parity:
    """Compare a classifier's answers.

    Args:
        name: of what is compared, for messages.
        wanted: float32, shape (slice, 1).
        got: likewise.
        tolerance: what is allowed.

    Raises:
        ParityError: a probability differs by more than allowed, or is not a number.
    """
    parity = Parity(len(wanted), _max_error(wanted, got), 1.0)
    if not parity.max_error <= tolerance.max_error:  # so that NaN fails
        raise ParityError(f"{name}: a probability is off by {parity.max_error:.2g}")
    return parity


def compare_masks(
    name: str,
    wanted: npt.NDArray[np.float32],
    got: npt.NDArray[np.float32],
    mask_threshold: float,
    tolerance: Tolerance,
) -> Parity:
    """Compare a segmenter's answers.

    Where neither finds any tumour there are no masks to compare; the probabilities themselves must then agree as a
    classifier's.

    Args:
        name: of what is compared, for messages.
        wanted: float32, shape (slice, 256, 256).
        got: likewise.
        mask_threshold: probability from which a pixel is tumour.
        tolerance: what is allowed.

    Raises:
        ParityError: the masks, all together, agree less than required, or a probability is not a number.
    """
    a, b = wanted >= np.float32(mask_threshold), got >= np.float32(mask_threshold)
    total = a.sum() + b.sum()
    dice = float(2 * (a & b).sum() / total) if total else 1.0
    parity = Parity(len(wanted), _max_error(wanted, got), dice)
    if not (parity.max_error <= tolerance.max_error if not total else np.isfinite(parity.max_error)):
        raise ParityError(f"{name}: a probability is off by {parity.max_error:.2g}")
    if parity.dice < tolerance.min_dice:
        raise ParityError(f"{name}: masks agree with Dice {parity.dice:.5f} only")
    return parity


def onnx_runtime(path: Path, batch_size: int = _BATCH) -> Run:
    """A network in ONNX Runtime, on the processor.

    Args:
        path: ONNX file.
        batch_size: slices computed at once.

    Raises:
        ModelError: the file cannot be run.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises kinds of its own
        raise ModelError(f"{path} cannot be run ({type(error).__name__})") from error
    (output,) = session.get_outputs()
    empty = np.empty((0, *(side for side in output.shape[1:])), np.float32)

    def run(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        starts = range(0, len(images), batch_size)
        batches = (np.ascontiguousarray(images[start : start + batch_size]) for start in starts)
        return np.concatenate([empty, *(session.run(None, {IMAGE: batch})[0] for batch in batches)])

    return run


def _max_error(wanted: npt.NDArray[np.float32], got: npt.NDArray[np.float32]) -> float:
    if wanted.shape != got.shape:
        raise ParityError(f"answers have shapes {wanted.shape} and {got.shape}")
    return float(np.abs(wanted - got).max(initial=0))
