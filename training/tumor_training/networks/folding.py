"""Batch norms folded into the convolutions before them, as the networks are served, and back into a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tumorctl.errors import InvalidInput


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """Fold each batch norm into the convolution before it, in place; the network must be in evaluation mode."""
    for parent, (conv_name, conv), (norm_name, norm) in list(_folded_pairs(module)):
        setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
        setattr(parent, norm_name, nn.Identity())
    return module


def load_folded(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load weights whose batch norms were folded, in place: the norms become the addition of a bias.

    The network then computes what the folded one does in evaluation mode; `measure_norms` readies it for training.

    Args:
        network: of the architecture that was folded.
        state: weights and biases by the names of the folded network.

    Raises:
        InvalidInput: a tensor is missing, left over or of another shape.
    """
    given = dict(state)
    whole: dict[str, Tensor] = {}
    prefix_of = {id(module): name for name, module in network.named_modules()}
    for parent, (conv_name, _), (norm_name, norm) in _folded_pairs(network):
        prefix = f"{prefix_of[id(parent)]}." if prefix_of[id(parent)] else ""
        bias = given.pop(f"{prefix}{conv_name}.bias", None)
        if bias is None:
            raise InvalidInput(f"the networks' file holds no {prefix}{conv_name}.bias: it has another architecture")
        whole |= {
            f"{prefix}{norm_name}.weight": torch.ones_like(norm.weight),
            f"{prefix}{norm_name}.bias": bias,
            f"{prefix}{norm_name}.running_mean": torch.zeros_like(bias),
            # So that dividing by the root of variance and epsilon divides by one.
            f"{prefix}{norm_name}.running_var": torch.full_like(bias, 1 - norm.eps),
            f"{prefix}{norm_name}.num_batches_tracked": torch.tensor(0),
        }
    try:
        network.load_state_dict(whole | given)
    except RuntimeError as error:
        raise InvalidInput("the networks' file has another architecture than the network to start") from error


@torch.no_grad()
def measure_norms(network: nn.Module, images: Tensor) -> None:
    """Give norms that came folded the statistics of what they see, in place, and the scale and bias that undo them.

    What the network computes in evaluation mode stays the same; in training mode, where norms divide by the deviation
    of the batch, it now starts from about the same.

    Args:
        network: from `load_folded`.
        images: in [0, 1], shape (batch, 3, row, column), like those that it will train on.
    """
    hooks = [
        module.register_forward_pre_hook(_measure) for module in network.modules() if isinstance(module, nn.BatchNorm2d)
    ]
    was_training = network.training
    try:
        network.eval()(images)
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()


def _measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Rewrite one norm before it runs, so that the next ones see what they always did."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), unbiased=False)
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    norm.bias.add_((mean - norm.running_mean) * gain)
    norm.weight.copy_(gain * (variance + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)


def _folded_pairs(
    module: nn.Module,
) -> Iterator[tuple[nn.Module, tuple[str, nn.Conv2d], tuple[str, nn.BatchNorm2d]]]:
    """Each convolution with the norm that follows it, under their parent.

    They are recognised by their order among their parent's children, which is how all blocks of both networks are
    written.
    """
    for (name, child), (next_name, follower) in pairwise(list(module.named_children())):
        if isinstance(child, nn.Conv2d) and isinstance(follower, nn.BatchNorm2d):
            yield module, (name, child), (next_name, follower)
    for child in module.children():
        yield from _folded_pairs(child)
