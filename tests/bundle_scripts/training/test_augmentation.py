"""Intensity augmentation: seeded for each sample, and it moves nothing."""

import json

import numpy as np
import pytest
import torch
from analytic_blobs import plan_of
from monai.bundle import ConfigParser

from auto_config.bundle.configs import train_config
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


def changed_channels(effect, augmentation, images=400):
    """Which of two channels change, ``(images, 2)``."""
    batch = torch.randn((1, 2, 6, 6, 6), generator=torch.Generator().manual_seed(0))
    made = IntensityAugmentation(**{effect: (1.0, 0.5, 0.7)}, **augmentation)
    return np.array([(made(batch, seeds(i))[0] != batch[0]).flatten(1).any(1).numpy() for i in range(images)])


@pytest.mark.parametrize("effect", ["blur", "low_resolution"])
def test_the_reference_blurs_and_coarsens_half_of_the_channels_each_on_its_own(effect):
    together = changed_channels(effect, {}, images=20)
    assert together.all()
    found = changed_channels(effect, {"channel_share": 0.5})
    np.testing.assert_allclose(found.mean(0), 0.5, atol=0.08)
    assert np.mean(found[:, 0] & found[:, 1]) == pytest.approx(0.25, abs=0.08)


def test_of_one_channel_the_shares_are_halved():
    """What nnU-Net's 0.2 and 0.25 mean for the usual image, which has one channel."""
    batch = torch.randn((1, 1, 6, 6), generator=torch.Generator().manual_seed(0))
    for effect, share in (("blur", 0.2), ("low_resolution", 0.25)):
        made = IntensityAugmentation(**{effect: (share, 0.5, 0.9)}, channel_share=0.5)
        found = [not torch.equal(made(batch, seeds(i)), batch) for i in range(2000)]
        assert np.mean(found) == pytest.approx(share / 2, abs=0.02)


def test_channels_of_the_reference_have_amounts_of_their_own_and_share_that_of_noise():
    batch = torch.ones((1, 2, 64, 64))
    bright = IntensityAugmentation(brightness=(1.0, 0.5, 1.5), channel_share=0.5)(batch, seeds(3))[0]
    assert not torch.allclose(bright[0], bright[1])
    noise = [IntensityAugmentation(noise=(1.0, 1.0), channel_share=0.5)(batch, seeds(i))[0] for i in range(5)]
    for one in noise:
        assert float(one[0].std()) == pytest.approx(float(one[1].std()), rel=0.06)
    assert np.ptp([float(one.std()) for one in noise]) > 0.1
    # Contrast is about the mean of the channel, and keeps the range of the channel.
    pair = torch.stack([torch.linspace(0, 1, 64), torch.linspace(10, 11, 64)]).reshape(1, 2, 8, 8)
    contrast = IntensityAugmentation(contrast=(1.0, 0.8, 0.8), channel_share=0.5)(pair, seeds(0))[0]
    torch.testing.assert_close(contrast.flatten(1).mean(1), torch.tensor([0.5, 10.5]))
    assert float(contrast[0].std()) == pytest.approx(0.8 * float(pair[0, 0].std()), rel=1e-4)


def test_the_blur_of_the_reference_has_a_sigma_for_each_axis():
    peak = torch.zeros((1, 1, 31, 31))
    peak[0, 0, 15, 15] = 1
    spread = []
    made = IntensityAugmentation(blur=(1.0, 0.5, 1.0), channel_share=1.0)
    for index in range(20):
        out = made(peak, seeds(index))[0, 0]
        spread.append([float((out.sum(axis) * (torch.arange(31.0) - 15) ** 2).sum()) for axis in (0, 1)])
    assert np.abs(np.diff(spread)).max() > 0.2
    torch.testing.assert_close(gaussian_blur(peak[0], [0.7, 0.7]), gaussian_blur(peak[0], 0.7), rtol=0, atol=0)


def test_half_of_the_exponents_of_the_reference_are_below_one():
    """BGContrast(0.7, 1.5): uniform below and above 1; a uniform draw has 37.5 % below and a mean of 1.1."""
    made = IntensityAugmentation(half_below_one=True)
    exponents = np.array([made._exponent((0.7, 1.5), where) for where in (np.arange(1000) + 0.5) / 1000])
    assert np.mean(exponents < 1) == 0.5
    assert exponents.min() == pytest.approx(0.7, abs=1e-3)
    assert exponents.max() == pytest.approx(1.5, abs=1e-3)
    assert exponents.mean() == pytest.approx(1.05, abs=1e-3)
    assert IntensityAugmentation()._exponent((0.7, 1.5), 0.5) == pytest.approx(1.1)
    assert made._exponent((1.0, 1.5), 0.2) == pytest.approx(1.1)


def test_a_low_resolution_leaves_a_fixed_axis_alone():
    """Slices of a flat patch stay apart: a checkerboard along that axis is kept to the bit."""
    image = torch.zeros((1, 8, 8, 6))
    image[..., ::2] = 1
    torch.testing.assert_close(low_resolution(image, 0.5, fixed_axis=2), image)
    assert not torch.allclose(low_resolution(image, 0.5), image)
    made = IntensityAugmentation(low_resolution=(1.0, 0.5, 0.5), fixed_axis=2)
    torch.testing.assert_close(made(image[None], seeds(0))[0], image)


def augmentation_of(method, **numbers):
    """The augmentation of a written bundle."""
    config = train_config(plan_of(stages=1, method=method, **numbers), 2, "/data", 0)
    part = {**config["augmentation"], "flip_pairs": None}
    text = json.dumps({"augmentation": part}).replace('"scripts.', '"auto_config.bundle_scripts.')
    return ConfigParser(json.loads(text)).get_parsed_content("augmentation"), part


def test_a_bundle_of_the_reference_augments_as_planned_and_one_of_the_default_method_as_ever():
    flat = {"dims": 3, "patch_size": (32, 32, 8)}
    reference, _ = augmentation_of("nnlandmark", **flat)
    assert (reference.channel_share, reference.half_below_one, reference.fixed_axis) == (0.5, True, 2)
    assert (reference.uniform_step, reference.rotation) == (True, pytest.approx(np.pi, abs=1e-4))
    _, ours = augmentation_of("default", **flat)
    assert not {"channel_share", "half_below_one", "fixed_axis", "uniform_step"} & set(ours)
