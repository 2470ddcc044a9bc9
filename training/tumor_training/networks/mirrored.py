"""A segmenter that looks at each slice twice, once mirrored: brains are nearly symmetric, and two looks err less."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Mirrored(nn.Module):
    """The mean of the logits for the slice and for its mirror image, mirrored back. Takes twice the time.

    Args:
        network: images in [0, 1], shape (batch, 3, row, column), to logits, shape (batch, 1, row, column).
        second: another such network for the mirror image; without it, the same one looks at both. Networks that
            started apart err apart.
    """

    def __init__(self, network: nn.Module, second: nn.Module | None = None) -> None:
        super().__init__()
        self.network = network
        self.second = second

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the same shape as the network's."""
        if self.second is not None:
            straight, mirrored = self.network(images), self.second(images.flip(-1))
        else:
            count = images.shape[0]
            both = self.network(torch.cat([images, images.flip(-1)]))
            # Not chunk(), which would fix the batch when the graph is exported.
            straight, mirrored = both[:count], both[count:]
        logits: Tensor = (straight + mirrored.flip(-1)) / 2
        return logits
