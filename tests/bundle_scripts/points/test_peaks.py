"""Rows of peaks: what is packed is unpacked, in 2D and 3D."""

import pytest
import torch
from torch import nn

from auto_config.bundle_scripts.methods.ensemble import EnsembleNetwork
from auto_config.bundle_scripts.points.peaks import make_peaks, peak_columns, unpack_peaks


@pytest.mark.parametrize("dims", [2, 3])
def test_what_is_packed_is_unpacked(dims):
    generator = torch.Generator().manual_seed(dims)
    root = torch.randn(5, dims, dims, generator=generator)
    peaks = make_peaks(
        torch.randn(5, dims, generator=generator),
        torch.rand(5, generator=generator),
        root @ root.mT,
        shape_distance=torch.rand(5, generator=generator),
        replaced=torch.tensor([True, False, True, False, False]),
        disagreement=torch.rand(5, generator=generator),
        mirror_disagreement=torch.rand(5, generator=generator),
    )
    rows = peaks.pack()
    assert rows.shape == (5, peak_columns(dims))
    found = unpack_peaks(rows)
    for name in (
        "points",
        "confidence",
        "shape_distance",
        "replaced",
        "disagreement",
        "mirror_disagreement",
        "covariance",
    ):
        torch.testing.assert_close(getattr(found, name), getattr(peaks, name))
    torch.testing.assert_close(found.spread, root.square().sum((-1, -2)).sqrt())


def test_what_was_not_judged():
    found = unpack_peaks(make_peaks(torch.zeros(1, 2), torch.ones(1), torch.zeros(1, 2, 2)).pack())
    assert found.shape_distance.isnan().all() and found.disagreement.isnan().all()
    assert found.replaced.tolist() == [0.0]


def test_rows_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"got \(4, 6\)"):
        unpack_peaks(torch.zeros(4, 6))


def test_views_of_an_ensemble_are_its_members():
    members = [nn.Identity(), nn.Identity()]
    assert EnsembleNetwork(members).views() == members
