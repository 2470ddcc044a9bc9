"""Running the trained networks in PyTorch, outside the loop: for thresholds, parity and experiments."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tumor_training.networks.normalise import to_unit_range


def logits_of(
    network: nn.Module, images: npt.NDArray[np.uint8], *, batch_size: int = 16, bf16: bool = False
) -> Iterator[Tensor]:
    """Logits of a network, batch by batch.

    Args:
        network: classifier or segmenter.
        images: uint8, shape (slice, 256, 256, 3).
        batch_size: slices at once.
        bf16: compute in bfloat16 where PyTorch thinks it safe.

    Yields:
        float32 logits, shape (batch,) or (batch, 1, 256, 256).
    """
    network.eval()
    for start in range(0, len(images), batch_size):
        batch = to_unit_range(torch.from_numpy(np.ascontiguousarray(images[start : start + batch_size])))
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            yield network(batch.contiguous(memory_format=torch.channels_last)).float()


def probabilities_of(
    network: nn.Module, images: npt.NDArray[np.uint8], *, bf16: bool = False
) -> npt.NDArray[np.float32]:
    """Sigmoid of the logits, float32, shape (slice,) or (slice, 256, 256)."""
    parts = [torch.sigmoid(logits).numpy() for logits in logits_of(network, images, bf16=bf16)]
    joined: npt.NDArray[np.float32] = np.concatenate(parts)
    return joined[:, 0] if joined.ndim == 4 else joined
