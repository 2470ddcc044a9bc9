from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from tumor_training.transforms import AugmentOptions, augment
from tumorctl.contract import FLAIR_CHANNEL

NOTHING = AugmentOptions(rotation_deg=0, scale=0, shift=0, elastic=0, intensity=0, gamma=0, noise=0, drop_sequence=0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(8, 3, 64, 64)


@pytest.fixture
def masks() -> Tensor:
    masks = torch.zeros(8, 1, 64, 64)
    masks[:, :, 20:40, 24:50] = 1
    return masks


def test_the_same_generator_state_gives_the_same_batch(images: Tensor, masks: Tensor) -> None:
    first, again = (augment(images, masks, AugmentOptions(), generator(5)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_another_generator_state_gives_another_batch(images: Tensor, masks: Tensor) -> None:
    first, other = (augment(images, masks, AugmentOptions(), generator(seed))[0] for seed in (5, 6))
    assert not torch.allclose(first, other)


def test_the_batch_given_is_left_as_it_is(images: Tensor, masks: Tensor) -> None:
    before = images.clone(), masks.clone()
    augment(images, masks, AugmentOptions(), generator())
    assert torch.equal(images, before[0])
    assert torch.equal(masks, before[1])


@pytest.mark.parametrize("seed", range(5))
def test_ranges_and_shapes_are_kept_and_masks_stay_binary(images: Tensor, masks: Tensor, seed: int) -> None:
    changed, moved = augment(images, masks, AugmentOptions(), generator(seed))
    assert changed.shape == images.shape
    assert moved.shape == masks.shape
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
    assert set(moved.flatten().tolist()) == {0.0, 1.0}


def test_without_strength_slices_are_as_they_were_or_mirrored(images: Tensor, masks: Tensor) -> None:
    changed, moved = augment(images, masks, NOTHING, generator())
    mirrored = 0
    for index in range(len(images)):
        flipped = not torch.allclose(changed[index], images[index], atol=1e-4)
        mirrored += flipped
        for new, old in ((changed, images), (moved, masks)):
            torch.testing.assert_close(new[index], old[index].flip(-1) if flipped else old[index], atol=1e-4, rtol=0)
    assert 0 < mirrored < len(images)


def test_masks_move_with_their_images(masks: Tensor) -> None:
    geometry = dataclasses.replace(AugmentOptions(), intensity=0, gamma=0, noise=0, drop_sequence=0)
    changed, moved = augment(masks.expand(-1, 3, -1, -1), masks, geometry, generator(1))
    assert not torch.equal(moved, masks)
    assert torch.equal((changed[:, :1] >= 0.5).float(), moved)


def test_dropped_sequences_are_the_flair(images: Tensor, masks: Tensor) -> None:
    dropping = dataclasses.replace(NOTHING, drop_sequence=1.0)
    kept, _ = augment(images, masks, NOTHING, generator())
    changed, _ = augment(images, masks, dropping, generator())
    for channel in range(3):
        torch.testing.assert_close(changed[:, channel], kept[:, FLAIR_CHANNEL])


def test_the_flair_is_never_dropped_and_others_now_and_then(masks: Tensor) -> None:
    images = torch.rand(200, 3, 8, 8)
    changed, _ = augment(
        images, torch.zeros(200, 1, 8, 8), dataclasses.replace(NOTHING, drop_sequence=0.5), generator()
    )
    kept, _ = augment(images, torch.zeros(200, 1, 8, 8), NOTHING, generator())
    same = (changed - kept).abs().flatten(2).amax(2) < 1e-4
    assert bool(same[:, FLAIR_CHANNEL].all())
    for channel in {0, 1, 2} - {FLAIR_CHANNEL}:
        assert 60 < int((~same[:, channel]).sum()) < 140


@pytest.mark.parametrize("name", ["intensity", "gamma", "noise"])
def test_intensities_change_and_masks_do_not(images: Tensor, masks: Tensor, name: str) -> None:
    options = dataclasses.replace(NOTHING, **{name: 0.2})  # type: ignore[arg-type]
    kept, kept_masks = augment(images, masks, NOTHING, generator(3))
    changed, moved = augment(images, masks, options, generator(3))
    assert float((changed - kept).abs().mean()) > 0.01
    assert torch.equal(moved, kept_masks)


@pytest.mark.parametrize(("name", "value"), [("rotation_deg", 20.0), ("scale", 0.3), ("shift", 0.2), ("elastic", 0.1)])
def test_each_deformation_moves_masks(masks: Tensor, name: str, value: float) -> None:
    masks = torch.maximum(masks, masks.flip(-1))  # symmetric, so that a mirrored one does not count as moved
    options = dataclasses.replace(NOTHING, **{name: value})  # type: ignore[arg-type]
    _, moved = augment(masks.expand(-1, 3, -1, -1), masks, options, generator(2))
    assert int((moved != masks).sum()) > 100


def test_what_lies_outside_comes_in_black() -> None:
    images, masks = torch.ones(4, 3, 32, 32), torch.ones(4, 1, 32, 32)
    changed, moved = augment(images, masks, dataclasses.replace(NOTHING, shift=0.5), generator())
    assert bool((changed == 0).any())
    assert bool((moved == 0).any())


CROP = dataclasses.replace(NOTHING, crop=(32, 48))


def test_a_crop_keeps_the_scale_of_the_slice(images: Tensor, masks: Tensor) -> None:
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    places = torch.stack([rows, columns, rows]).expand(8, 3, 64, 64) / 64
    changed, moved = augment(places, masks, CROP, generator())
    assert changed.shape == (8, 3, 32, 48)
    assert moved.shape == (8, 1, 32, 48)
    # Linear interpolation of a linear ramp is exact: the steps show the scale, mirrored or not.
    steps = changed[:, 1].diff(dim=2).abs() * 64
    assert float((steps - 1).abs().max()) < 1e-3
    assert len({round(float(v), 3) for v in changed[:, 0].amin((1, 2))}) > 4


def test_crops_stay_inside_the_slice() -> None:
    whole = torch.ones(50, 3, 64, 64), torch.ones(50, 1, 64, 64)
    changed, moved = augment(*whole, CROP, generator())
    assert float(changed.min()) > 0.999
    assert bool(moved.all())
