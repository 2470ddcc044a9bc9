"""From pixels to what the first convolution wants: the one place where intensities are scaled."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# ImageNet's channel means and deviations, which the pretrained weights expect (torchvision, ResNet18_Weights).
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """Scale images in [0, 1], shape (batch, 3, row, column), to ImageNet's mean and deviation."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images of the same shape."""
        return (images - self.mean) / self.deviation


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 images, shape (batch, row, column, 3), as float in [0, 1], shape (batch, 3, row, column)."""
    return images.permute(0, 3, 1, 2).float() / 255.0
