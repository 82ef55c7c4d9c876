"""Bundles whose inferer gave bare heatmaps, and whose decoder held another one, through today's interfaces."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from auto_config.bundle.earlier import earlier_decoder, earlier_find
from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.errors import UserError

LOGITS = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))


def old_decoder():
    """As it was: called on logits, `density` on logits."""

    class Old:
        def __call__(self, logits, log_prior=None):
            return ArgmaxDecoder()(logits, log_prior)

        def density(self, logits):
            return ArgmaxDecoder().probability(logits)

    return Old()


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_bare_window_was_decoded_in_post_processing(mirrored):
    inner = {"_target_": "SlidingWindowInferer"}
    inferer = {"_target_": "scripts.mirror.MirroredInferer", "inferer": inner} if mirrored else inner
    config = {"inferer": inferer, "decoder": {"_target_": "scripts.decoding.PeakDecoder"}}
    decoder = earlier_decoder(config, old_decoder())
    found = earlier_find(Path("b"), config, lambda image, network: LOGITS[None], decoder)(torch.zeros(1, 6, 5), None)
    torch.testing.assert_close(found.peaks.points, ArgmaxDecoder()(LOGITS)[0])
    assert found.origins.shape == (2, 2) and not found.origins.any()
    with pytest.raises(UserError, match="has no heatmaps to give"):
        earlier_find(Path("b"), config, lambda image, network: LOGITS[None], None)(torch.zeros(1, 6, 5), None)


def test_the_ends_of_a_pair_have_the_mean_of_their_channels():
    several = SimpleNamespace(decoder=old_decoder(), instances=SimpleNamespace(exchangeable=((0, 1),)))
    config = {"decoder": {"_target_": "scripts.instance_decoding.InstanceDecoder"}}
    density = earlier_decoder(config, several).density({"logits": LOGITS})
    mean = torch.softmax(LOGITS.mean(0).flatten(), 0).reshape(6, 5)
    torch.testing.assert_close(density, mean.expand(2, 6, 5))
