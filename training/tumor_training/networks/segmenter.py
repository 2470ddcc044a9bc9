"""The segmenter: which pixels are tumour? A U-Net of residual blocks on a ResNet encoder.

Ronneberger et al. 2015 (U-Net), He et al. 2016 (residual blocks), Zhang et al. 2018 (residual U-Net).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tumor_training.networks.normalise import Normalise
from tumor_training.networks.weights import RANDOM, build_resnet

WIDTH = 256


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut, which is a 1x1 convolution where the channels change."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = (
            nn.Identity()
            if channels_in == channels_out
            else nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out))
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same height and width."""
        residual = F.relu(self.norm1(self.conv1(features)))
        residual = self.norm2(self.conv2(residual))
        return F.relu(residual + self.shortcut(features))


class ExpandBlock(nn.Module):
    """One step of the expansive path: double the resolution, join the skip connection, one residual block."""

    def __init__(self, channels_in: int, channels_skip: int, channels_out: int) -> None:
        super().__init__()
        self.block = ResidualBlock(channels_in + channels_skip, channels_out)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        """Features at the resolution of the skip connection."""
        features = F.interpolate(features, scale_factor=2.0, mode="nearest")
        result: Tensor = self.block(torch.cat([features, skip], dim=1))
        return result


class TumorSegmenter(nn.Module):
    """ResUNet: contracting path and bottleneck from a torchvision ResNet, expansive path of residual blocks.

    Args:
        depth: 18, 34, 50, 101 or 152 layers in the encoder.
        weights: of the encoder, see `build_resnet`.
        width: channels of the expansive path at 1/16 of the resolution, a multiple of 16; each step halves them.
    """

    def __init__(self, depth: int = 18, weights: str = RANDOM, width: int = WIDTH) -> None:
        super().__init__()
        widths = [width >> step for step in range(5)]
        self.normalise = Normalise()
        resnet = build_resnet(depth, weights)
        # The encoder reads the slice at half resolution; this keeps the full one for the outline.
        self.detail = nn.Sequential(
            nn.Conv2d(3, widths[-1], 3, padding=1, bias=False), nn.BatchNorm2d(widths[-1]), nn.ReLU()
        )
        self.stem = nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.contract = nn.ModuleList([resnet.layer1, resnet.layer2, resnet.layer3])
        self.bottleneck = resnet.layer4
        unit = 1 if depth < 50 else 4
        skips = (256 * unit, 128 * unit, 64 * unit, 64, widths[-1])
        channels = 512 * unit
        expand = []
        for skip, width in zip(skips, widths, strict=True):
            expand.append(ExpandBlock(channels, skip, width))
            channels = width
        self.expand = nn.ModuleList(expand)
        self.head = nn.Conv2d(channels, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of tumour, shape (batch, 1, row, column), for images in [0, 1], shape (batch, 3, row, column).

        Height and width must be multiples of 32.
        """
        images = self.normalise(images)
        skips = [self.detail(images), self.stem(images)]
        features = self.pool(skips[-1])
        for stage in self.contract:
            features = stage(features)
            skips.append(features)
        features = self.bottleneck(features)
        for block, skip in zip(self.expand, reversed(skips), strict=True):
            features = block(features, skip)
        logits: Tensor = self.head(features)
        return logits
