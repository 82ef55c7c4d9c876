"""Intensity augmentation: seeded for each sample, and it moves nothing."""

import json

import numpy as np
import pytest
import torch

from auto_config.bundle_scripts.training.augmentation import (
    Augmentation,
    IntensityAugmentation,
    gaussian_blur,
    low_resolution,
)
from auto_config.bundle_scripts.training.patches import SpatialAugmentation

EVERYTHING = {
    "noise": (1.0, 0.1),
    "blur": (1.0, 0.5, 1.0),
    "brightness": (1.0, 0.75, 1.25),
    "contrast": (1.0, 0.75, 1.25),
    "gamma": (1.0, 0.7, 1.5),
    "gamma_inverted": (1.0, 0.7, 1.5),
    "low_resolution": (1.0, 0.5, 1.0),
}


def images(batch=4, dims=3):
    return torch.randn((batch, 2, *[12] * dims), generator=torch.Generator().manual_seed(0))


def seeds(*indices):
    return np.array([[0, i, 0, 0] for i in indices])


@pytest.mark.parametrize("dims", [2, 3])
def test_a_patch_is_augmented_the_same_in_whatever_batch_it_is(dims):
    augmentation, batch = IntensityAugmentation(**EVERYTHING), images(dims=dims)
    together = augmentation(batch, seeds(3, 1, 4, 1))
    for row, index in enumerate((3, 1, 4, 1)):
        torch.testing.assert_close(together[row], augmentation(batch[row : row + 1], seeds(index))[0])
    assert not torch.allclose(together[0], augmentation(batch[:1], seeds(5))[0])


def test_nothing_is_done_unless_asked_for():
    batch = images()
    assert torch.equal(IntensityAugmentation()(batch, seeds(0, 1, 2, 3)), batch)


@pytest.mark.parametrize("effect", EVERYTHING)
def test_one_effect_is_drawn_alike_whether_others_are_on_or_off(effect):
    """Switching an effect off does not change the numbers of the others."""
    batch = images(1)
    alone = IntensityAugmentation(**{effect: EVERYTHING[effect]})
    chances = [not torch.equal(alone(batch, seeds(i)), batch) for i in range(5)]
    assert all(chances)
    half = IntensityAugmentation(**{effect: (0.5, *EVERYTHING[effect][1:])})
    changed = [not torch.equal(half(batch, seeds(i)), batch) for i in range(60)]
    assert 15 < sum(changed) < 45


def test_closed_forms():
    batch = images(1)
    bright = IntensityAugmentation(brightness=(1.0, 1.2, 1.2))(batch, seeds(0))
    torch.testing.assert_close(bright, batch * 1.2)
    mean = batch[0].mean()
    contrast = IntensityAugmentation(contrast=(1.0, 0.8, 0.8))(batch, seeds(0))
    torch.testing.assert_close(contrast, (batch - mean) * 0.8 + mean)
    noisy = IntensityAugmentation(noise=(1.0, 0.1))(batch, seeds(0)) - batch
    assert 0 < float(noisy.std()) <= 0.11
    assert abs(float(noisy.mean())) < 0.01
    for name in ("gamma", "gamma_inverted"):
        gamma = IntensityAugmentation(**{name: (1.0, 1.4, 1.4)})(batch, seeds(0))
        torch.testing.assert_close(gamma.mean(), batch.mean(), atol=1e-4, rtol=0)
        torch.testing.assert_close(gamma.std(), batch.std(), atol=1e-4, rtol=0)
        # Monotone: the order of the values stays.
        order = batch.flatten().argsort()
        assert (gamma.flatten()[order].diff() >= -1e-5).all()


def test_a_constant_image_stays_finite():
    augmentation = IntensityAugmentation(**EVERYTHING)
    assert augmentation(torch.zeros(1, 1, 8, 8, 8), seeds(0)).isfinite().all()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    "effect", [lambda x: gaussian_blur(x, 1.0), lambda x: low_resolution(x, 0.5)], ids=["blur", "low"]
)
def test_a_blob_stays_where_it_is(dims, effect):
    grid = torch.stack(torch.meshgrid(*[torch.arange(24.0)] * dims, indexing="ij"), -1)
    center = torch.tensor([11.3, 10.8, 12.4][:dims])
    blob = torch.exp(-0.5 * (grid - center).square().sum(-1) / 2.0**2)
    out = effect(blob[None])[0]
    found = (grid * out[..., None]).flatten(0, -2).sum(0) / out.sum()
    assert float((found - center).abs().max()) < 0.1


def test_blur_keeps_constants_and_spreads_by_sigma():
    assert torch.allclose(gaussian_blur(torch.full((2, 9, 8), 3.0), 0.7), torch.tensor(3.0))
    peak = torch.zeros(1, 31, 31)
    peak[0, 15, 15] = 1
    out = gaussian_blur(peak, 1.0)[0]
    variance = float((out.sum(1) * (torch.arange(31.0) - 15) ** 2).sum())
    assert variance == pytest.approx(1.0, rel=0.05)


def test_one_part_has_the_effects_of_space_and_of_intensity(tmp_path):
    both = Augmentation(rotation=0.3, scale=(0.8, 1.2), flip_pairs=[1, 0], **EVERYTHING)
    batch = images()
    assert torch.equal(both(batch, seeds(0, 1, 2, 3)), IntensityAugmentation(**EVERYTHING)(batch, seeds(0, 1, 2, 3)))
    space = SpatialAugmentation(rotation=0.3, scale=(0.8, 1.2), mirror_pairs=(1, 0))
    for number in range(4):
        ours, theirs = (x.matrix(np.random.default_rng(number), np.ones(3)) for x in (both, space))
        np.testing.assert_array_equal(ours, theirs)
    table = tmp_path / "landmarks.json"
    items = [{"name": name, "pair": pair} for name, pair in (("left", "right"), ("mid", None), ("right", "left"))]
    table.write_text(json.dumps({"landmarks": items}))
    assert Augmentation(flip_pairs=str(table)).mirror_pairs == (2, 1, 0)
    assert Augmentation().mirror_pairs is None
