"""Random changes to training batches: sample the parameters with a seeded generator, then apply them.

All work on whole batches of float tensors in [0, 1], shape (batch, channel, row, column), where the tensors are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tumorctl.contract import FLAIR_CHANNEL


@dataclass(frozen=True, slots=True)
class AugmentOptions:
    """How strong the changes are.

    Attributes:
        rotation_deg: largest rotation either way, in degrees.
        scale: largest relative change of size either way.
        shift: largest shift either way, as a part of the side.
        elastic: largest displacement of the elastic grid, as a part of the sides of what is cut out.
        intensity: largest relative change of contrast and absolute change of brightness, drawn per channel.
        gamma: largest change of the exponent, as a factor's natural logarithm, drawn per channel.
        noise: largest standard deviation of Gaussian noise.
        drop_sequence: probability that T1 before or after contrast is replaced by the FLAIR, as in patients without it.
        crop: rows and columns that are cut out anywhere in a slice, at its own scale; None keeps whole slices. Fewer
            pixels train faster, and the networks, which are made of convolutions, take whole slices all the same.
    """

    rotation_deg: float = 20.0
    scale: float = 0.2
    shift: float = 0.08
    elastic: float = 0.03
    intensity: float = 0.2
    gamma: float = 0.35
    noise: float = 0.03
    drop_sequence: float = 0.2
    crop: tuple[int, int] | None = None


def augment(
    images: Tensor, masks: Tensor, options: AugmentOptions, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Change a batch at random: mirror, affine and elastic deformation, crop, intensities, dropped sequences.

    Args:
        images: float in [0, 1], shape (batch, 3, row, column).
        masks: float 0 or 1, shape (batch, 1, row, column), deformed alongside.
        options: how strong the changes are.
        generator: on the CPU; the same state gives the same changes.

    Returns:
        Images and masks of the same ranges and, but for a crop, the same shapes.
    """
    grid = _sampling_grid(images, options, generator)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    masks = (F.grid_sample(masks, grid, mode="bilinear", padding_mode="zeros", align_corners=False) >= 0.5).float()
    images = _drop_sequences(images, options, generator)
    return _change_intensities(images, options, generator), masks


def _uniform(shape: tuple[int, ...], limit: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(shape, generator=generator) * 2 - 1) * limit


def _sampling_grid(images: Tensor, options: AugmentOptions, generator: torch.Generator) -> Tensor:
    """Where each pixel of the result is taken from, in [-1, 1] over the slice, shape (batch, row, column, 2)."""
    batch, height, width = len(images), *images.shape[-2:]
    rows, columns = options.crop or (height, width)
    part = torch.tensor([columns / width, rows / height])
    angle = torch.deg2rad(_uniform((batch,), options.rotation_deg, generator))
    zoom = torch.exp(_uniform((batch,), options.scale, generator))
    mirror = torch.where(torch.rand(batch, generator=generator) < 0.5, -1.0, 1.0)
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0] = torch.cos(angle) * zoom * mirror
    theta[:, 0, 1] = -torch.sin(angle) * zoom
    theta[:, 1, 0] = torch.sin(angle) * zoom * mirror
    theta[:, 1, 1] = torch.cos(angle) * zoom
    theta[:, :, :2] *= part
    theta[:, :, 2] = _uniform((batch, 2), 2 * options.shift, generator)
    if options.crop:
        theta[:, :, 2] += _uniform((batch, 2), 1.0, generator) * (1 - part)
    grid = F.affine_grid(theta.to(images.device), [batch, 1, rows, columns], align_corners=False)
    coarse = _uniform((batch, 2, 6, 6), 2 * options.elastic, generator) * part.view(1, 2, 1, 1)
    bend = F.interpolate(coarse.to(images.device), size=(rows, columns), mode="bicubic", align_corners=True)
    return grid + bend.permute(0, 2, 3, 1)


def _drop_sequences(images: Tensor, options: AugmentOptions, generator: torch.Generator) -> Tensor:
    drop = torch.rand(len(images), images.shape[1], generator=generator) < options.drop_sequence
    drop = drop.to(images.device)[:, :, None, None]
    return torch.where(drop, images[:, FLAIR_CHANNEL : FLAIR_CHANNEL + 1], images)


def _change_intensities(images: Tensor, options: AugmentOptions, generator: torch.Generator) -> Tensor:
    shape = (len(images), images.shape[1], 1, 1)
    contrast = (1 + _uniform(shape, options.intensity, generator)).to(images.device)
    brightness = _uniform(shape, options.intensity / 2, generator).to(images.device)
    gamma = torch.exp(_uniform(shape, options.gamma, generator)).to(images.device)
    sigma = (torch.rand(len(images), 1, 1, 1, generator=generator) * options.noise).to(images.device)
    noise = torch.randn(images.shape, generator=generator).to(images.device) * sigma
    changed = images.clamp(0, 1).pow(gamma) * contrast + brightness * (images > 0) + noise
    return changed.clamp(0, 1)
