from __future__ import annotations

import math

import pytest
import torch

from tumor_training.losses import dice_cross_entropy, soft_dice_loss

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


def test_cross_entropy_is_added_with_its_weight() -> None:
    logits, target = masks(0, 0, 2), masks(1, 0, 0)
    entropy = (2 * math.log(2) + math.log(1 + math.exp(2))) / 3
    dice = float(soft_dice_loss(logits, target))
    assert float(dice_cross_entropy(logits, target)) == pytest.approx(dice + entropy)
    assert float(dice_cross_entropy(logits, target, cross_entropy_weight=0.25)) == pytest.approx(dice + entropy / 4)


def test_half_precision_logits_are_summed_in_single_precision() -> None:
    logits = torch.full((1, 1, 256, 256), SURE, dtype=torch.bfloat16)
    assert float(soft_dice_loss(logits, torch.ones(1, 1, 256, 256))) == pytest.approx(0, abs=1e-6)
