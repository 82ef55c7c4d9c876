"""Heatmaps of several networks are averaged, in every form that a network gives them."""

import pytest
import torch

from auto_config.bundle_scripts.methods.ensemble import EnsembleNetwork


class Scale(torch.nn.Module):
    def __init__(self, factor, shape=None):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))
        if shape is not None:
            self.shape = torch.nn.Identity()
            self.shape.register_buffer("mean", torch.tensor(shape))

    def forward(self, image):
        if isinstance(image, dict):
            return {name: x * self.factor for name, x in image.items()}
        return image * self.factor


def test_tensors_and_dictionaries_are_averaged():
    network = EnsembleNetwork([Scale(1.0), Scale(2.0), Scale(6.0)])
    image = torch.tensor([[1.0, -2.0]])
    torch.testing.assert_close(network(image), image * 3)
    outputs = network({"coarse": image, "fine": image + 1})
    assert list(outputs) == ["coarse", "fine"]
    torch.testing.assert_close(outputs["fine"], (image + 1) * 3)


def test_a_member_that_returns_a_view_of_itself_is_not_changed():
    first = torch.nn.Identity()
    image = torch.ones(2)
    EnsembleNetwork([first, Scale(3.0)])(image)
    assert image.tolist() == [1.0, 1.0]


def test_the_shape_is_that_of_the_first():
    network = EnsembleNetwork([Scale(1.0, shape=[1.0]), Scale(2.0, shape=[2.0])])
    assert network.shape.mean.tolist() == [1.0]


def test_an_ensemble_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one network"):
        EnsembleNetwork([])
