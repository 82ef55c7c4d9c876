"""How networks are called: batches, precision, coarse to fine."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from torch import nn

from auto_config.bundle_scripts.inference.coarse_to_fine import CoarseToFineInferer, gaussian_window
from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.bundle_scripts.points.instances import Instances
from auto_config.bundle_scripts.points.shape import ShapeModel, shape_prior
from auto_config.bundle_scripts.training.augmentation import IntensityAugmentation
from auto_config.bundle_scripts.training.batch import PrepareBatch, TrainingInferer

FACTOR = [2, 2, 2]
SIZE = (36, 40, 32)


def batch(count=2):
    generator = torch.Generator().manual_seed(0)
    stage = {
        "image": torch.randn((3, count, 1, 6, 6, 6), generator=generator),
        "points": torch.randn((3, count, 4, 3), generator=generator),
        "status": torch.ones((3, count, 4), dtype=torch.int64),
        "affine": torch.eye(4).expand(3, count, 4, 4),
    }
    return {"fine": stage, "seed": torch.tensor([7, 7, 7]), "index": torch.tensor([10, 11, 12])}


def test_crops_of_all_samples_become_one_batch():
    made = batch()
    images, targets = PrepareBatch(["fine"])(made, "cpu")
    assert images["fine"].shape == (6, 1, 6, 6, 6)
    torch.testing.assert_close(images["fine"][3], made["fine"]["image"][1, 1])
    assert set(targets["fine"]) == {"points", "status", "size"}
    assert targets["fine"]["size"] == (6, 6, 6)
    torch.testing.assert_close(targets["fine"]["points"][5], made["fine"]["points"][2, 1])


def test_noise_of_a_sample_depends_on_its_own_number_only():
    prepare = PrepareBatch(["fine"], IntensityAugmentation(noise=(1.0, 0.5)))
    whole = prepare(batch())[0]["fine"]
    alone = {k: {n: x[1:2] for n, x in v.items()} if isinstance(v, dict) else v[1:2] for k, v in batch().items()}
    torch.testing.assert_close(prepare(alone)[0]["fine"], whole[2:4])
    noise = whole - batch()["fine"]["image"].flatten(0, 1)
    assert not torch.allclose(noise[0] / noise[0].std(), noise[1] / noise[1].std())


class Record(nn.Module):
    """Tells what precision it is called in."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1)

    def forward(self, inputs):
        self.precise = not torch.is_autocast_enabled("cpu")
        return {name: {"logits": self.layer(x)} for name, x in inputs.items()}


@pytest.mark.parametrize("fast", [True, False])
def test_half_precision_only_where_asked_for_and_fast_and_logits_are_single(monkeypatch, fast):
    half = torch.bfloat16 if fast else None
    monkeypatch.setattr("auto_config.bundle_scripts.training.batch.half_type_of", lambda _: half)
    network = Record()
    for amp in (True, False):
        out = TrainingInferer(amp)({"fine": torch.ones(1, 1, 4, 4)}, network)
        assert out["fine"]["logits"].dtype == torch.float32
        assert network.precise == (not (amp and fast))


def test_on_a_cpu_a_loss_gets_channel_after_channel():
    """Networks there have their channels last."""
    network = Record()
    network.layer = nn.Conv2d(2, 3, 1).to(memory_format=torch.channels_last)
    image = torch.rand(2, 2, 4, 5).to(memory_format=torch.channels_last)
    made = network({"fine": image})["fine"]["logits"]
    logits = TrainingInferer(amp=False)({"fine": image}, network)["fine"]["logits"]
    assert not made.is_contiguous()
    assert logits.is_contiguous()
    assert torch.equal(logits, made)
    logits.sum().backward()
    torch.testing.assert_close(network.layer.bias.grad, torch.full((3,), 40.0))


class Peaks:
    """Answers with a Gaussian at each point: in the coarse view, and in crops whose place it reads off the image.

    The image's channels are its own voxel coordinates, so a crop tells where it lies.
    """

    def __init__(self, points, coarse_points=None, shape=None):
        self.points = torch.as_tensor(points, dtype=torch.float32)
        self.coarse_points = (
            self.points if coarse_points is None else torch.as_tensor(coarse_points, dtype=torch.float32)
        )
        self.shape = shape or ShapeModel(len(self.points), 3)
        self.calls = []

    flipped = False

    def __call__(self, inputs):
        self.calls += [(name, len(x)) for name, x in inputs.items()]
        return {name: {"logits": self._peaks(x, name)} for name, x in inputs.items()}

    def views(self):
        return [self]

    def _peaks(self, image, name):
        points, unit = (self.coarse_points, 2.0) if name == "coarse" else (self.points, 1.0)
        distance = (image[:, None, :3] - points[None, :, :, None, None, None]).square().sum(2) / unit**2
        return 5.0 - 0.5 * distance


def coordinates(size=SIZE):
    return torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in size], indexing="ij"))[None]


def inferer(**numbers):
    window = SlidingWindowInferer(
        roi_size=(12, 12, 12), overlap=0.5, mode="gaussian", padding_mode="constant", cval=-50.0
    )
    arguments = {
        "window": window,
        "factor": FACTOR,
        "crop_size": (16, 16, 16),
        "spacing": (1.0, 1.0, 1.0),
        "coarse_decoder": ArgmaxDecoder(),
        "fine_decoder": ArgmaxDecoder(),
        "reach": 3.0,
        "pad_value": -50.0,
    }
    return CoarseToFineInferer(**{**arguments, **numbers})


POINTS = np.array([[10.3, 12.6, 9.1], [25.2, 30.7, 22.4], [1.2, 38.1, 15.5], [34.4, 0.6, 30.7]])


def test_points_are_found_everywhere_also_at_the_border():
    network = Peaks(POINTS)
    peaks = inferer()(MetaTensor(coordinates()), network)
    assert peaks.shape == (1, 4, 14)
    assert not isinstance(peaks, MetaTensor)
    np.testing.assert_allclose(peaks[0, :2, :3], POINTS[:2], atol=0.05)
    # Half of these peaks lies outside of the image, where this network says nothing.
    np.testing.assert_allclose(peaks[0, 2:, :3], POINTS[2:], atol=0.4)
    np.testing.assert_allclose(peaks[0, :2, 3], torch.sigmoid(torch.tensor(5.0)), atol=4e-3)
    assert peaks[0, :, 4].isnan().all()
    assert (peaks[0, :, 5] == 0).all()
    assert sum(n for name, n in network.calls if name == "fine") == len(POINTS)


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_a_network_that_diverged_is_told(link):
    class Diverged(Peaks):
        def _peaks(self, image, name):
            return torch.full_like(super()._peaks(image, name), float("nan"))

    with pytest.raises(ValueError, match="no finite coordinates; lower learning_rate"):
        inferer(coarse_decoder=ArgmaxDecoder(link))(coordinates(), Diverged(POINTS))


def test_the_fine_stage_corrects_the_coarse_one():
    off = POINTS + np.array([1.5, -1.0, 1.2])
    peaks = inferer()(coordinates(), Peaks(POINTS[:2], off[:2]))
    np.testing.assert_allclose(peaks[0, :, :3], POINTS[:2], atol=0.05)


def test_of_two_alike_places_in_a_crop_the_one_near_the_coarse_point_wins():
    class Twins(Peaks):
        def _peaks(self, image, name):
            one = super()._peaks(image, name)
            if name == "coarse":
                return one
            away = Peaks(self.points + torch.tensor([5.0, 0.0, 0.0]))._peaks(image, name) + 0.3
            return torch.maximum(one, away)

    peaks = inferer(reach=2.0)(coordinates(), Twins(POINTS[:1]))
    np.testing.assert_allclose(peaks[0, 0, :3], POINTS[0], atol=0.3)
    peaks = inferer(reach=50.0)(coordinates(), Twins(POINTS[:1]))
    np.testing.assert_allclose(peaks[0, 0, :3], POINTS[0] + [5, 0, 0], atol=0.3)


def far_off(seed=0):
    """Ten landmarks with a shape model, and coarse points one of which is on the wrong side."""
    random = np.random.default_rng(seed)
    points = random.uniform(6, 28, (10, 3))
    shapes = np.stack([points + random.normal(size=points.shape) * 0.2 for _ in range(8)])
    model = ShapeModel(10, 3)
    model.fit(shapes)
    coarse = points.copy()
    coarse[3] = [33, 37, 2] if points[3, 0] < 17 else [2, 2, 30]
    return points, coarse, model


def test_a_coarse_point_that_cannot_be_right_is_replaced_and_reported():
    points, coarse, model = far_off()
    peaks = inferer()(coordinates(), Peaks(points, coarse, model))[0]
    np.testing.assert_allclose(peaks[:, :3], points, atol=0.1)
    assert peaks[:, 5].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert peaks[3, 4] == pytest.approx(np.linalg.norm(coarse[3] - points[3]), abs=2)
    assert peaks[[0, 1, 2, 4, 5], 4].max() < 2


def test_the_plausibility_step_can_be_switched_off():
    points, coarse, model = far_off()
    peaks = inferer(plausibility=False)(coordinates(), Peaks(points, coarse, model))[0]
    assert (peaks[:, 5] == 0).all()
    assert np.linalg.norm(peaks[3, :3].numpy() - points[3]) > 5
    assert peaks[3, 4] > 5  # told all the same


class TwoMaxima(Peaks):
    """The coarse heatmap has the false maximum a little higher than one beside the true place."""

    def _peaks(self, image, name):
        false = super()._peaks(image, name)
        if name != "coarse":
            return false
        true = Peaks(self.points, self.points + torch.tensor([1.0, 0.0, 0.0]))._peaks(image, name) - 1.0
        return torch.maximum(false, true)


def test_a_shape_prior_chooses_among_the_maxima_of_the_heatmap():
    points, coarse, model = far_off()
    peaks = inferer(shape_prior=True, plausibility=False)(coordinates(), TwoMaxima(points, coarse, model))[0]
    np.testing.assert_allclose(peaks[:, :3], points, atol=0.1)
    assert peaks[:, 5].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    off = inferer(plausibility=False)(coordinates(), TwoMaxima(points, coarse, model))[0]
    assert np.linalg.norm(off[3, :3].numpy() - points[3]) > 5


def test_a_shape_prior_is_a_gaussian_in_mm():
    logits, fitted = torch.zeros(2, 5, 7), np.array([[2.0, 3.0], [0.0, np.nan]])
    prior = shape_prior(fitted, np.array([2.0, 1.0]), np.array([1.0, 4.0]), np.array([True, False]), logits)
    assert prior[0, 2, 3] == 0 and prior[0, 4, 3] == -0.5 and prior[0, 2, 4] == -2.0
    assert (prior[1] == 0).all()


def test_millimetres_of_an_anisotropic_grid_are_those_of_the_shape():
    points, coarse, model = far_off()
    spacing = np.array([1.0, 0.8, 1.5])
    model.fit(np.stack([points + np.random.default_rng(i).normal(size=points.shape) * 0.2 for i in range(8)]) * spacing)
    peaks = inferer(spacing=spacing)(coordinates(), Peaks(points, coarse, model))[0]
    assert peaks[:, 5].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(peaks[:, :3], points, atol=0.1)


def test_each_image_of_a_batch_on_its_own():
    image = coordinates()
    peaks = inferer()(torch.cat([image, image - 4.0]), Peaks(POINTS[:2]))
    np.testing.assert_allclose(peaks[0, :, :3], POINTS[:2], atol=0.05)
    np.testing.assert_allclose(peaks[1, :, :3], POINTS[:2] + 4, atol=0.05)


def test_ends_that_may_change_places_are_compared_in_one_order():
    """Two views whose channels show both ends, and that do not agree which of them is which."""
    ends = POINTS[0] + np.array([[0.0, 0, 0], [6.0, 0, 0]])

    class Ends(Peaks):
        def __init__(self, first, lead):
            super().__init__(ends)
            self.first, self.lead = first, lead

        def _peaks(self, image, name):
            one = super()._peaks(image, name)
            if name == "coarse":
                return one
            own, other = one[:, [self.first, 1 - self.first]], one[:, [1 - self.first, self.first]]
            return torch.maximum(own + self.lead, other)

    class Views:
        shape, flipped = ShapeModel(2, 3), False

        def views(self):
            return [Ends(0, 0.6), Ends(1, 0.4)]

        def __call__(self, inputs):
            return Ends(0, 0.6)(inputs)

    known = Instances(("p", "q"), (1, 1), (False, False), ((0, 1),), (3.0, 3.0), (0.5, 0.5))
    found = inferer(reach=1e3, instances=known).heatmaps(coordinates()[0], Views()).peaks
    np.testing.assert_allclose(found.points, ends, atol=0.05)
    np.testing.assert_allclose(found.disagreement, 0, atol=0.05)
    unaware = inferer(reach=1e3).heatmaps(coordinates()[0], Views()).peaks
    np.testing.assert_allclose(unaware.disagreement, 3, atol=0.05)


def test_the_window_falls_to_its_border_and_never_to_zero():
    window = gaussian_window((16, 8), torch.device("cpu"))
    assert window.shape == (16, 8)
    assert window.min() >= 1e-3
    torch.testing.assert_close(window, window.flip(0, 1))
    assert window[7, 3] == window.max()
