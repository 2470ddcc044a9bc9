"""The classifier: does this slice show a tumour? A ResNet that judges each cell of the slice.

He et al. 2016 (ResNet), Long et al. 2015 (scores at two strides, added up: FCN-16s). Where the tumour lies is known
of every training slice, and saying so teaches more than one label a slice does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tumor_training.networks.normalise import Normalise
from tumor_training.networks.weights import RANDOM, build_resnet

CELL_PX = 16
"""Side of a cell."""


class TumorClassifier(nn.Module):
    """A torchvision ResNet with a logit for every cell of 16 pixels a side.

    Args:
        depth: 18, 34, 50, 101 or 152 layers.
        weights: see `build_resnet`.
        dropout: probability of dropping a channel of the last features.
    """

    def __init__(self, depth: int = 18, weights: str = RANDOM, dropout: float = 0.2) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.backbone = build_resnet(depth, weights)
        channels = self.backbone.fc.in_features
        self.backbone.fc = nn.Identity()
        self.fine = nn.Conv2d(channels // 2, 1, 1)
        self.coarse = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(channels, 1, 1))

    def cells(self, images: Tensor) -> Tensor:
        """Logits of tumour in each cell, shape (batch, row / 16, column / 16), for images in [0, 1].

        Args:
            images: shape (batch, 3, row, column), multiples of 32.
        """
        resnet = self.backbone
        features = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(self.normalise(images)))))
        features = resnet.layer3(resnet.layer2(resnet.layer1(features)))
        coarse = self.coarse(resnet.layer4(features))
        logits: Tensor = self.fine(features) + F.interpolate(coarse, scale_factor=2.0, mode="bilinear")
        return logits.squeeze(1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of tumour, shape (batch,), for images in [0, 1], shape (batch, 3, row, column)."""
        return slice_logits(self.cells(images))


def slice_logits(cells: Tensor) -> Tensor:
    """Logits of tumour anywhere in a slice, shape (batch,): the smooth maximum over its cells' (log-sum-exp).

    Args:
        cells: logits, shape (batch, row, column).
    """
    return torch.logsumexp(cells.flatten(1), 1)
