"""Flip test-time augmentation: back in place, sides exchanged, averaged."""

import torch
from stage_networks import Staged

from auto_config.bundle_scripts.inference.flip import MirroredNetwork
from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.bundle_scripts.methods.interfaces import LOGITS

PAIRS = [1, 0, 2]


class Sides:
    """A network that is symmetric but for an error: landmark 0 grows with x, 1 is its mirror, 2 has no side."""

    def __init__(self, error=0.0):
        self.error = error

    def __call__(self, image):
        x = torch.linspace(-1, 1, image.shape[2]).reshape(1, 1, -1, 1, 1).expand(image.shape)
        first = image * x + self.error
        return torch.cat([first, -image * x, image + self.error * x], 1)


def call(network, image):
    return mirrored(network)({"fine": image})["fine"]["logits"]


def mirrored(network, shape=None):
    return MirroredNetwork(Staged(network, shape), PAIRS, {"coarse": ArgmaxDecoder(), "fine": ArgmaxDecoder()})


def test_a_symmetric_network_is_left_as_it_is():
    image = torch.rand(1, 1, 6, 4, 4)
    torch.testing.assert_close(call(Sides(), image), Sides()(image))


def test_errors_that_the_mirror_turns_round_are_averaged_away():
    image = torch.rand(1, 1, 6, 4, 4)
    both = call(Sides(error=0.5), image)
    # The error of landmark 0 is shared with its partner, that of landmark 2 is odd in x and cancels.
    torch.testing.assert_close(both[:, 0], Sides()(image)[:, 0] + 0.25)
    torch.testing.assert_close(both[:, 1], Sides()(image)[:, 1] + 0.25)
    torch.testing.assert_close(both[:, 2], image[:, 0])


def test_stages_by_name_are_mirrored_each():
    image = {"coarse": torch.rand(1, 1, 6, 4, 4), "fine": torch.rand(2, 1, 4, 4, 4)}
    seen = mirrored(Sides())(image)
    for name, x in image.items():
        torch.testing.assert_close(seen[name]["logits"], Sides()(x))


def test_the_shape_model_of_the_network_stays_at_hand():
    network = mirrored(Sides(), "the shape")
    assert network.shape == "the shape"
    assert network.flipped and [type(view).__name__ for view in network.views()] == ["Staged", "_Flipped"]


def test_heads_that_no_decoder_reads_are_left_out_of_the_mean():
    """Some methods train more heads than they read; of those nobody knows how the mirror image is turned round."""

    class TwoHeads(Staged):
        def forward(self, images):
            return {name: {LOGITS: image, "unread": image[:, :0]} for name, image in images.items()}

    image = torch.arange(12.0).reshape(1, 2, 6)[..., None]
    network = MirroredNetwork(TwoHeads(None), [1, 0], {"coarse": ArgmaxDecoder()})
    found = network({"coarse": image})["coarse"]
    assert list(found) == [LOGITS]
    torch.testing.assert_close(found[LOGITS], (image + image[:, [1, 0]]) / 2)
