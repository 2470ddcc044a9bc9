"""Losses of the segmenter."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tumor_training.networks.classifier import CELL_PX, slice_logits

_COVERED = 0.1
_CELLS_WEIGHT = 4.0
"""Most cells are empty and soon cost nothing: so much makes up for it."""


def cells_cross_entropy(cells: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of a slice plus that of its cells, for the classifier.

    A cell shows tumour from a tenth of its area; a slice from one pixel.

    Args:
        cells: logits, shape (batch, row, column).
        target: 0 or 1, shape (batch, 1, row, column), 16 pixels a cell.
    """
    cells = cells.float()
    covered = F.avg_pool2d(target, CELL_PX).squeeze(1)
    of_slices = F.binary_cross_entropy_with_logits(slice_logits(cells), target.flatten(1).amax(1))
    return of_slices + _CELLS_WEIGHT * F.binary_cross_entropy_with_logits(cells, (covered >= _COVERED).float())


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


def slice_dice_loss(logits: Tensor, target: Tensor, *, smooth: float = 20.0) -> Tensor:
    """One minus the soft Dice coefficient of each slice with tumour, averaged over them; 0 where there is none.

    Over the batch, a small tumour hardly counts beside a large one; here each slice counts the same.

    Args:
        logits: shape (batch, 1, row, column).
        target: 0 or 1, same shape.
        smooth: added to both sides, in pixels; keeps a slice of few pixels of tumour from ruling the gradient.
    """
    probability, target = torch.sigmoid(logits.float()).flatten(1), target.flatten(1)
    overlap = (probability * target).sum(1)
    loss = 1 - (2 * overlap + smooth) / (probability.sum(1) + target.sum(1) + smooth)
    positive = target.any(1).float()
    return (loss * positive).sum() / positive.sum().clamp(min=1)


def dice_cross_entropy(logits: Tensor, target: Tensor, *, slice_share: float = 0.0) -> Tensor:
    """Soft Dice plus binary cross-entropy.

    Args:
        logits: shape (batch, 1, row, column).
        target: 0 or 1, same shape.
        slice_share: part of the Dice term that is taken slice by slice instead of over the batch, in [0, 1].
    """
    loss = F.binary_cross_entropy_with_logits(logits.float(), target)
    if slice_share < 1:
        loss = loss + (1 - slice_share) * soft_dice_loss(logits, target)
    if slice_share > 0:
        loss = loss + slice_share * slice_dice_loss(logits, target)
    return loss
