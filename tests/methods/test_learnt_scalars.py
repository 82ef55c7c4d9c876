"""Numbers that a network learns for itself: heads of its outputs that no image makes, from training to export."""

import pytest
import torch
from monai.inferers import SlidingWindowInferer
from torch import nn

from auto_config.bundle_scripts.inference.coarse_to_fine import CoarseToFineInferer
from auto_config.bundle_scripts.inference.dense import DenseInferer
from auto_config.bundle_scripts.inference.flip import MirroredNetwork
from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.bundle_scripts.methods.ensemble import EnsembleNetwork
from auto_config.bundle_scripts.methods.interfaces import LOGITS, without_scalars
from auto_config.bundle_scripts.methods.stages import LandmarkNetwork
from auto_config.bundle_scripts.points.shape import ShapeModel

WIDTHS = [2.0, 3.0]


class ScaledDecoder(ArgmaxDecoder):
    """A decoder that reads a learnt scalar: the covariance is its square, whatever the heatmap looks like."""

    heads = (LOGITS, "width")

    def decode(self, output, log_prior=None):
        found = super().decode(output, log_prior)
        eye = torch.eye(found.points.shape[1])
        return type(found)(**{**vars(found), "covariance": output["width"].square()[:, None, None] * eye})

    def unflip(self, output, pairs):
        return super().unflip(output, pairs) | {"width": output["width"][list(pairs)]}


def network(dims=3, stages=("fine",), widths=WIDTHS):
    layer = (nn.Conv2d, nn.Conv3d)[dims - 2]
    torch.manual_seed(dims)
    networks = {name: layer(1, 2, 3, padding=1) for name in stages}
    return LandmarkNetwork(networks, 2, dims, scalars={name: {"width": widths} for name in stages}).eval()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("stages", [("fine",), ("coarse", "fine")])
def test_scalars_are_heads_parameters_and_part_of_the_state(dims, stages):
    one, other = network(dims, stages), network(dims, stages, widths=[7.0, 8.0])
    image = torch.randn(2, 1, *(8,) * dims)
    outputs = one(dict.fromkeys(stages, image))
    for name in stages:
        assert list(outputs[name]) == [LOGITS, "width"]
        assert outputs[name]["width"].tolist() == WIDTHS
    outputs[stages[-1]]["width"].sum().backward()
    assert one.get_parameter(f"scalars.{stages[-1]}.width").grad.tolist() == [1.0, 1.0]
    other.load_state_dict(one.state_dict())
    assert other({"fine": image})["fine"]["width"].tolist() == WIDTHS


def test_a_network_without_scalars_has_the_state_that_it_had():
    plain = LandmarkNetwork({"fine": nn.Conv2d(1, 2, 1)}, 2, 2)
    assert {name for name in plain.state_dict() if not name.startswith("shape.")} == {
        "stages.fine.weight",
        "stages.fine.bias",
    }


@pytest.mark.parametrize("scalars", [{"coarse": {"width": [1.0]}}, {"fine": {LOGITS: [1.0]}}])
def test_scalars_without_a_stage_or_with_the_name_of_a_head_are_refused(scalars):
    with pytest.raises(ValueError, match=r"scalars of stage '(coarse|fine)' need such a stage"):
        LandmarkNetwork({"fine": nn.Conv2d(1, 2, 1)}, 2, 2, scalars=scalars)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_tensor_gives_the_first_head_and_can_be_scripted_and_exported(dims):
    one = network(dims)
    image = torch.randn(2, 1, *(8,) * dims)
    expected = one({"fine": image})["fine"][LOGITS]
    torch.testing.assert_close(one(image), expected)
    torch.testing.assert_close(torch.jit.script(one)(image), expected)
    torch.testing.assert_close(torch.export.export(one, (image,)).module()(image), expected)


def test_ensembles_average_them_and_leave_the_members_alone():
    one, other = network(2), network(2, widths=[4.0, 5.0])
    image = torch.randn(1, 1, 8, 8)
    found = EnsembleNetwork([one, other])({"fine": image})["fine"]["width"]
    assert found.tolist() == [3.0, 4.0]
    assert one.get_parameter("scalars.fine.width").tolist() == WIDTHS


def test_maps_and_scalars_are_told_apart_by_their_axes():
    maps, scalars = without_scalars({LOGITS: torch.zeros(2, 4, 4), "width": torch.zeros(2)})
    assert (list(maps), list(scalars)) == ([LOGITS], ["width"])


@pytest.mark.parametrize("flip_pairs", [None, [1, 0]])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_decoder_reads_them_beside_merged_windows_and_views(dims, flip_pairs):
    """Windows, mirror images and members are merged; each has the same scalars, exchanged with the landmarks."""
    window = SlidingWindowInferer([8] * dims, overlap=0.5, mode="gaussian")
    inferer = DenseInferer(window=window, decoder=ScaledDecoder(), spacing=[1.0] * dims, flip_pairs=flip_pairs)
    ensemble = EnsembleNetwork([network(dims), network(dims, widths=[4.0, 5.0])])
    with torch.inference_mode():
        found = inferer.heatmaps(torch.randn(1, *(13,) * dims), ensemble)
    expected = torch.tensor([3.0, 4.0])
    if flip_pairs is not None:
        expected = (expected + expected[flip_pairs]) / 2
    torch.testing.assert_close(found.output["width"], expected)
    torch.testing.assert_close(found.peaks.covariance[:, 0, 0], expected**2)


def test_both_stages_of_a_fine_search_have_their_own():
    two = LandmarkNetwork(
        {name: nn.Conv3d(1, 2, 3, padding=1) for name in ("coarse", "fine")},
        2,
        scalars={"coarse": {"width": [9.0, 9.0]}, "fine": {"width": WIDTHS}},
    ).eval()
    assert isinstance(two.shape, ShapeModel)
    inferer = CoarseToFineInferer(
        window=SlidingWindowInferer([8] * 3, overlap=0.5),
        factor=[2, 2, 2],
        crop_size=[8] * 3,
        spacing=[1.0] * 3,
        coarse_decoder=ScaledDecoder(),
        fine_decoder=ScaledDecoder(),
        reach=4.0,
        plausibility=False,
    )
    with torch.inference_mode():
        found = inferer.heatmaps(torch.randn(1, 20, 20, 20), two)
    torch.testing.assert_close(found.peaks.covariance[:, 0, 0], torch.tensor(WIDTHS) ** 2)


@pytest.mark.parametrize("decoder", [ArgmaxDecoder(), ScaledDecoder()])
def test_heads_that_no_decoder_reads_are_left_out_of_the_mean_with_the_mirror_image(decoder):
    mirrored = MirroredNetwork(network(2), [1, 0], {"fine": decoder})
    with torch.inference_mode():
        found = mirrored({"fine": torch.randn(1, 1, 8, 8)})["fine"]
    assert set(found) == set(decoder.heads)
    assert "width" not in found or found["width"].tolist() == [2.5, 2.5]
