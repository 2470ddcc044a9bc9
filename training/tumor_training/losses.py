"""Losses of the segmenter."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def soft_dice_loss(logits: Tensor, target: Tensor, *, smooth: float = 1.0) -> Tensor:
    """One minus the soft Dice coefficient over the whole batch (Milletari et al. 2016, V-Net).

    Taken over the batch and not per slice, a slice without tumour adds its false positives and nothing else.

    Args:
        logits: shape (batch, 1, row, column).
        target: 0 or 1, same shape.
        smooth: added to both sides, in pixels; keeps a batch without tumour defined.
    """
    probability = torch.sigmoid(logits.float())
    overlap = (probability * target).sum()
    return 1 - (2 * overlap + smooth) / (probability.sum() + target.sum() + smooth)


def dice_cross_entropy(logits: Tensor, target: Tensor, *, cross_entropy_weight: float = 1.0) -> Tensor:
    """Soft Dice plus binary cross-entropy.

    Args:
        logits: shape (batch, 1, row, column).
        target: 0 or 1, same shape.
        cross_entropy_weight: of the second term.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits.float(), target)
    return soft_dice_loss(logits, target) + cross_entropy_weight * cross_entropy
