"""The average of sites: closed forms, and what a site that knows less must not do to the others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from auto_config.bundle_scripts.points.procrustes import procrustes, similarity
from auto_config.federation.averaging import SiteUpdate, average, pooled_shape


def update(value, cases, known, **tensors):
    weights = {"conv": np.full((2, 3), value, dtype=np.float32), "out": np.full((2, 4), value, dtype=np.float32)}
    return SiteUpdate({**weights, **tensors}, cases, np.array(known))


def shape_of(shapes):
    mean, spread, count = procrustes(shapes)
    return {"shape.mean": np.nan_to_num(mean), "shape.spread": np.nan_to_num(spread), "shape.cases": count}


def test_sites_weigh_by_their_cases_and_landmarks_by_those_that_know_them():
    found = average([update(1.0, 6, [6, 6]), update(5.0, 2, [2, 0])], ["out"])
    np.testing.assert_allclose(found["conv"], (6 * 1 + 2 * 5) / 8)
    np.testing.assert_allclose(found["out"], [[2.0] * 4, [1.0] * 4])
    assert found["out"].dtype == np.float32
    # A landmark that nobody knows is as all else.
    np.testing.assert_allclose(average([update(1.0, 1, [1, 0]), update(3.0, 1, [1, 0])], ["out"])["out"], 2.0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(1, 9)), min_size=1, max_size=4))
def test_an_average_lies_between_its_sites_and_does_not_depend_on_their_order(sites):
    updates = [update(value, cases, [cases, cases]) for value, cases in sites]
    found = average(updates, ["out"])
    values = [np.float32(value) for value, _ in sites]
    for tensor in found.values():
        assert min(values) - 1e-5 <= tensor.min() <= tensor.max() <= max(values) + 1e-5
    turned = average(updates[::-1], ["out"])
    assert all(np.allclose(found[name], turned[name], atol=1e-5) for name in found)


def test_one_site_alone_keeps_its_weights_whole_numbers_too():
    alone = update(0.3, 4, [4, 4], count=np.array(7))
    found = average([alone], ["out"])
    for name, tensor in alone.weights.items():
        np.testing.assert_allclose(found[name], tensor, rtol=1e-6)
    assert found["count"].dtype == alone.weights["count"].dtype


@pytest.mark.parametrize(
    ("updates", "words"),
    [
        ([], "no site has sent weights"),
        ([update(1.0, 1, [1, 1]), update(1.0, 1, [1, 1], more=np.ones(1))], "site 2 sends other tensors"),
        ([update(1.0, 1, [1, 1]), update(np.nan, 1, [1, 1])], "site 2 sends conv with numbers that are not finite"),
        ([update(1.0, 0, [0, 0])], "site 1 has no training case"),
    ],
)
def test_what_cannot_be_averaged_is_one_line(updates, words):
    with pytest.raises(ValueError, match=words):
        average(updates)


def shapes(rng, count, template, noise=0.5):
    return template + rng.normal(0, noise, (count, *template.shape))


def test_shapes_of_sites_in_other_frames_are_one_shape():
    """What a site measures in turned, moved and scaled coordinates is what it would have measured in others."""
    rng = np.random.default_rng(0)
    template = rng.uniform(-50, 50, (8, 3))
    one, two = shape_of(shapes(rng, 6, template)), shape_of(shapes(rng, 9, template))
    straight = pooled_shape([one, two])
    turn = Rotation.from_euler("xyz", (20, -10, 35), degrees=True).as_matrix()
    moved = {**two, "shape.mean": two["shape.mean"] @ turn.T * 1.3 + 40, "shape.spread": two["shape.spread"] * 1.3}
    turned = pooled_shape([one, moved])
    np.testing.assert_allclose(turned["shape.spread"] / straight["shape.spread"], np.ones(8), rtol=0.2)
    matrix = similarity(turned["shape.mean"], straight["shape.mean"], np.ones(8))
    np.testing.assert_allclose(
        turned["shape.mean"] @ matrix[:-1, :-1].T + matrix[:-1, -1], straight["shape.mean"], atol=0.1
    )
    assert (turned["shape.cases"] == 15).all()


def test_the_pooled_shape_is_nearly_that_of_all_cases_together():
    rng = np.random.default_rng(1)
    template = rng.uniform(-50, 50, (8, 3))
    a, b = shapes(rng, 40, template), shapes(rng, 20, template)
    pooled, together = pooled_shape([shape_of(a), shape_of(b)]), shape_of(np.concatenate([a, b]))
    np.testing.assert_allclose(pooled["shape.spread"], together["shape.spread"], rtol=0.1)
    matrix = similarity(pooled["shape.mean"], together["shape.mean"], np.ones(8))
    aligned = pooled["shape.mean"] @ matrix[:-1, :-1].T + matrix[:-1, -1]
    np.testing.assert_allclose(aligned, together["shape.mean"], atol=0.1)


def test_a_landmark_of_one_site_keeps_its_place_in_the_shape():
    """An average with the zeros of a site that does not know it would pull it to the origin."""
    rng = np.random.default_rng(2)
    template = rng.uniform(-50, 50, (8, 3)) + 200
    all_known, fewer = shapes(rng, 6, template), shapes(rng, 6, template)
    fewer[:, 7] = np.nan
    pooled = pooled_shape([shape_of(all_known), shape_of(fewer)])
    matrix = similarity(pooled["shape.mean"], template, np.ones(8))
    np.testing.assert_allclose(pooled["shape.mean"] @ matrix[:-1, :-1].T + matrix[:-1, -1], template, atol=1.0)
    assert pooled["shape.cases"].tolist() == [12] * 7 + [6]


def test_sites_that_say_nothing_of_the_shape_are_left_out():
    rng = np.random.default_rng(3)
    one = shape_of(shapes(rng, 5, rng.uniform(-50, 50, (6, 3))))
    nothing = {name: np.zeros_like(value) for name, value in one.items()}
    found = pooled_shape([one, nothing])
    np.testing.assert_allclose(found["shape.spread"], one["shape.spread"], rtol=1e-6)
    assert found["shape.cases"].tolist() == one["shape.cases"].tolist()
    assert not pooled_shape([nothing, nothing])["shape.cases"].any()
