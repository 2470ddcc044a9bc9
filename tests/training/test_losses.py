from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from tumor_training.losses import cells_cross_entropy, dice_cross_entropy, slice_dice_loss, soft_dice_loss

SURE = 50.0


def masks(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


@pytest.mark.parametrize(
    ("logits", "target", "loss"),
    [
        (masks(SURE, -SURE), masks(1, 0), 0.0),
        (masks(-SURE, -SURE), masks(0, 0), 0.0),
        (masks(-SURE, SURE), masks(1, 0), 1 - 1 / 3),
        (masks(-SURE, -SURE), masks(1, 1), 1 - 1 / 3),
        (masks(SURE, SURE), masks(1, 0), 1 - 3 / 4),
        (masks(0, 0), masks(1, 0), 1 - 2 / 3),
    ],
    ids=["right", "nothing there", "beside", "missed", "too much", "undecided"],
)
def test_soft_dice_of_simple_cases(logits: torch.Tensor, target: torch.Tensor, loss: float) -> None:
    assert float(soft_dice_loss(logits, target)) == pytest.approx(loss, abs=1e-6)


def test_soft_dice_is_taken_over_the_batch() -> None:
    logits = torch.cat([masks(SURE, SURE), masks(-SURE, -SURE)])
    target = torch.cat([masks(1, 1), masks(0, 0)])
    assert float(soft_dice_loss(logits, target)) == pytest.approx(0, abs=1e-6)
    target = torch.cat([masks(1, 1), masks(1, 1)])
    assert float(soft_dice_loss(logits, target)) == pytest.approx(1 - 5 / 7)


def test_the_gradient_raises_tumour_and_lowers_the_rest() -> None:
    logits = masks(0, 0, 0).requires_grad_()
    soft_dice_loss(logits, masks(1, 0, 0)).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    inside, *outside = logits.grad.flatten().tolist()
    # With p = 1/2: 1 - (2 p1 + 1) / (p1 + p2 + p3 + 2), times p (1 - p).
    assert inside == pytest.approx(-(2 * 3.5 - 2) / 3.5**2 / 4)
    assert outside == pytest.approx([2 / 3.5**2 / 4] * 2)


def test_the_gradient_agrees_with_finite_differences() -> None:
    torch.manual_seed(1)
    logits = torch.randn(2, 1, 4, 4, requires_grad=True)
    target = (torch.rand(2, 1, 4, 4) < 0.4).float()
    loss = dice_cross_entropy(logits, target)
    (gradient,) = torch.autograd.grad(loss, logits)
    step = 1e-2
    logits = logits.detach()
    for place in ((0, 0, 0, 0), (1, 0, 2, 3)):
        change = torch.zeros_like(logits)
        change[place] = step
        difference = dice_cross_entropy(logits + change, target) - dice_cross_entropy(logits - change, target)
        assert float(gradient[place]) == pytest.approx(float(difference) / (2 * step), rel=0.02, abs=2e-5)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_dice_is_taken_over_the_batch_and_slice_by_slice_in_parts(share: float) -> None:
    logits = torch.cat([masks(0, 0, 2), masks(1, -1, 0)])
    target = torch.cat([masks(1, 0, 0), masks(0, 1, 0)])
    entropy = float(F.binary_cross_entropy_with_logits(logits, target))
    expected = (1 - share) * float(soft_dice_loss(logits, target)) + share * float(slice_dice_loss(logits, target))
    assert float(dice_cross_entropy(logits, target, slice_share=share)) == pytest.approx(entropy + expected)


def test_slice_dice_counts_each_slice_with_tumour_the_same() -> None:
    small, large = masks(1, 0, 0, 0), masks(1, 1, 1, 1)
    found, missed = (2 * small - 1) * SURE, masks(-SURE, -SURE, -SURE, -SURE)
    loss = slice_dice_loss(torch.cat([found, missed]), torch.cat([small, large]), smooth=1e-6)
    assert float(loss) == pytest.approx(0.5)


def test_slice_dice_leaves_slices_without_tumour_out() -> None:
    logits, target = torch.cat([masks(SURE, SURE), masks(SURE, -SURE)]), torch.cat([masks(0, 0), masks(1, 0)])
    assert float(slice_dice_loss(logits, target)) == pytest.approx(0, abs=1e-6)
    assert float(slice_dice_loss(masks(SURE), masks(0))) == 0


def test_half_precision_logits_are_summed_in_single_precision() -> None:
    logits = torch.full((1, 1, 256, 256), SURE, dtype=torch.bfloat16)
    assert float(soft_dice_loss(logits, torch.ones(1, 1, 256, 256))) == pytest.approx(0, abs=1e-6)


def test_cells_and_slices_both_count() -> None:
    target = torch.zeros(2, 1, 32, 32)
    target[0, 0, :8, :8] = 1  # a quarter of the first cell
    target[1, 0, 0, :5] = 1  # too little for a cell, and tumour all the same
    right = torch.full((2, 2, 2), -SURE)
    right[:, 0, 0] = SURE
    right[1] = torch.tensor([[0.0, -SURE], [-SURE, -SURE]])
    undecided_cell = 4 * math.log(2) / 8
    undecided_slice = math.log(2) / 2
    assert float(cells_cross_entropy(right, target)) == pytest.approx(undecided_cell + undecided_slice, abs=1e-5)
    missed = right.clone()
    missed[0, 0, 0] = -SURE
    assert float(cells_cross_entropy(missed, target)) > 10
