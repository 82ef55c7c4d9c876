"""What every method must keep, run over each row of `METHODS`: a new row is in it without another line."""

import ast
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from contract_parts import (
    ABSENT,
    LANDMARKS,
    PAIRS,
    PRESENT,
    UNKNOWN,
    Played,
    backbones_of,
    batch_of,
    narrowed,
    parsed,
    parts_of,
    plans,
    sample,
    solved,
    truth_of,
)
from steps import narrow_bundle, points_of, two_steps, write_cases

from auto_config.bundle import configs
from auto_config.bundle.parts import network_def
from auto_config.bundle_scripts.inference.heatmaps import slide
from auto_config.bundle_scripts.methods.ensemble import mean_of_two
from auto_config.bundle_scripts.methods.interfaces import without_scalars
from auto_config.methods import METHODS

EVERY = pytest.mark.parametrize(("method", "dims"), [(name, dims) for name in METHODS for dims in (2, 3)])


def distances(found, expected):
    """Of each landmark, in voxels."""
    return torch.linalg.vector_norm(found.points - expected, dim=-1)


def noise(parts, batch, size):
    """An output whose maps have no meaning."""
    generator = torch.Generator().manual_seed(0)
    maps, scalars = without_scalars(parts.zeros(batch, size))
    return {head: torch.randn(x.shape, generator=generator) for head, x in maps.items()} | scalars


@EVERY
def test_the_best_output_decodes_to_the_points(method, dims):
    for one in solved(method, dims):
        for name in ("present", "moved", "mirrored"):
            found = one.parts.decoder.decode(one.outputs[name])
            error = distances(found, one.points[name])
            assert float(error.max()) <= METHODS[method].tolerance, (one.parts.name, name, error)
            assert found.confidence.shape == (LANDMARKS,)
            assert found.covariance.shape == (LANDMARKS, dims, dims)
            # Variances are those of something around the point.
            assert (torch.linalg.eigvalsh(found.covariance.double()) > 0).all()


@EVERY
def test_absent_landmarks_have_no_point_in_the_loss_and_less_confidence(method, dims):
    for one in solved(method, dims):
        parts, points = one.parts, one.points["absent"]
        status = torch.tensor([[PRESENT, ABSENT, PRESENT]])
        moved = points.clone()
        moved[1] = torch.nan
        output = noise(parts, 1, one.size)
        losses = [parts.loss(output, truth_of(where[None], status), one.size) for where in (points, moved)]
        torch.testing.assert_close(*losses)
        found = parts.decoder.decode(one.outputs["absent"])
        assert float(found.confidence[1]) < float(found.confidence[[0, 2]].min())
        assert float(distances(found, points)[[0, 2]].max()) <= METHODS[method].tolerance


@EVERY
def test_unknown_landmarks_have_no_gradient(method, dims):
    for one in solved(method, dims):
        parts, size = one.parts, one.size
        points = one.points["present"].repeat(2, 1, 1)
        points[0] = torch.nan
        output = {head: value.requires_grad_(True) for head, value in parts.zeros(2, size).items()}
        status = torch.tensor([[UNKNOWN] * LANDMARKS, [PRESENT, UNKNOWN, ABSENT]])
        loss = parts.loss(output, truth_of(points, status), size)
        loss.backward()
        maps, scalars = without_scalars(output)
        assert all(not x.grad[0].any() and torch.isfinite(x.grad).all() for x in maps.values())
        assert any(x.grad[1].any() for x in maps.values())
        assert all(x.grad is None or torch.isfinite(x.grad).all() for x in scalars.values())
        # Where the point of an unknown landmark would be makes no difference.
        moved = points.clone()
        moved[1, 1] += 5
        torch.testing.assert_close(parts.loss(output, truth_of(moved, status), size), loss)
        # Nothing known at all is a loss of 0 that can be differentiated.
        before = {head: x.grad.clone() for head, x in output.items() if x.grad is not None}
        none = parts.loss(output, truth_of(points, torch.full_like(status, UNKNOWN)), size)
        none.backward()
        assert float(none.detach()) == 0
        assert all(output[head].grad.equal(gradient) for head, gradient in before.items())


@EVERY
def test_points_outside_of_the_patch_keep_the_loss_finite(method, dims):
    for one in solved(method, dims):
        parts, points = one.parts, one.points["outside"][None]
        output = {head: value.requires_grad_(True) for head, value in parts.zeros(1, one.size).items()}
        loss = parts.loss(output, truth_of(points, torch.full((1, LANDMARKS), PRESENT)), one.size)
        loss.backward()
        assert torch.isfinite(loss)
        assert all(x.grad is None or torch.isfinite(x.grad).all() for x in output.values())
        assert any(x.grad is not None for x in output.values())
        # The one inside is learnt all the same, and the one far outside is not found.
        found = parts.decoder.decode(one.outputs["outside"])
        assert float(distances(found, points[0])[0]) <= METHODS[method].tolerance
        assert float(found.confidence[0]) > float(found.confidence[2])


@EVERY
def test_an_output_of_the_mirror_image_is_turned_round(method, dims):
    for one in solved(method, dims):
        decoder = one.parts.decoder
        found = decoder.decode(sample(decoder.unflip(batch_of(one.outputs["mirrored"]), PAIRS), 0))
        assert float(distances(found, one.points["present"]).max()) <= METHODS[method].tolerance
        output = noise(one.parts, 2, one.size)
        again = decoder.unflip(decoder.unflip(output, PAIRS), PAIRS)
        assert set(again) >= set(decoder.heads)
        for head in decoder.heads:
            torch.testing.assert_close(again[head], output[head])


@EVERY
def test_merged_windows_decode_like_the_whole(method, dims):
    for one in solved(method, dims):
        plan, parts = one.plan, one.parts
        if parts.name == "fine" and len(plan.value("stages")) == 2:
            continue  # it sees crops, and no window slides
        # Smaller than the patch, which is no multiple of the steps of this window.
        window = list(parts.size(*(20, 24, 12)[:dims]))
        whole = {head: one.outputs["present"][head] for head in parts.decoder.heads}
        scalars = without_scalars(whole)[1]
        network = Played(parts.name, parts.json.heads, parts.stride, dims, scalars)
        small = {"patch_size": window, "coarse_patch_size": window, "pad_value": 0.0}
        window = parsed(configs.inference_config(plan, LANDMARKS), **small).get_parsed_content("window")
        merged = slide(window, network.image(one.outputs["present"]), partial(network.kept, heads=list(whole)))
        assert {head: x.shape for head, x in merged.items()} == {head: x.shape for head, x in whole.items()}
        found, expected = (parts.decoder.decode(output) for output in (merged, whole))
        assert float(distances(found, expected.points).max()) <= METHODS[method].tolerance
        torch.testing.assert_close(found.confidence, expected.confidence, atol=0.01, rtol=0)


@EVERY
def test_the_mean_of_two_views_says_what_lies_between(method, dims):
    for one in solved(method, dims):
        decoder, tolerance = one.parts.decoder, METHODS[method].tolerance
        views = [{head: one.outputs[name][head] for head in decoder.heads} for name in ("present", "moved")]
        found = decoder.decode(mean_of_two(*views))
        between = (one.points["present"] + one.points["moved"]) / 2
        assert float(distances(found, between).max()) <= tolerance + 0.1
        alone, twice = (decoder.decode(output) for output in (views[0], mean_of_two(views[0], views[0])))
        torch.testing.assert_close(twice.points, alone.points)


@EVERY
def test_densities_are_probabilities_of_each_voxel(method, dims):
    for one in solved(method, dims):
        decoder, output = one.parts.decoder, one.outputs["present"]
        assert decoder.single().decode(output).points.shape == (LANDMARKS, dims)
        density = decoder.density(output)
        if density is None:
            continue
        assert density.shape == (LANDMARKS, *one.size)
        assert float(density.min()) >= 0
        torch.testing.assert_close(density.flatten(1).sum(1), torch.ones(LANDMARKS), atol=1e-4, rtol=0)
        highest = torch.stack(torch.unravel_index(density.flatten(1).argmax(1), one.size), -1)
        assert float((highest - one.points["present"]).abs().max()) <= 1


@EVERY
def test_everything_learnt_is_in_the_state_of_the_network(method, dims):
    for plan in plans(method, dims):
        make = parsed({"network": narrowed(network_def(plan, LANDMARKS))})
        network = make.get_parsed_content("network").eval()
        other = make.get_parsed_content("network", instantiate=True, lazy=False).eval()
        assert other is not network
        other.load_state_dict(network.state_dict(), strict=True)
        images = {stage["name"]: torch.randn(2, 1, *stage["patch_size"]) for stage in plan.value("stages")}
        with torch.inference_mode():
            outputs, same = network(images), other(images)
            one = network(images["fine"])
        torch.testing.assert_close(outputs, same)
        for parts, row in zip(parts_of(plan), backbones_of(plan), strict=True):
            output, scalars = without_scalars(outputs[parts.name])
            assert {head: x.tolist() for head, x in scalars.items()} == {
                head: pytest.approx(values) for head, values in parts.json.scalars.items()
            }
            grid = [edge // row.stride for edge in parts.stage["patch_size"]]
            shapes = {head: [channels, *grid] for head, channels in parts.json.heads.items()}
            assert {head: [*x.shape[1:]] for head, x in output.items()} == shapes
            assert set(parts.decoder.heads) <= set(output) | set(scalars)
            assert parts.decoder.heads[0] in output
            assert row.stride == parts.decoder.stride
            # A loss has nothing to learn or to keep, and is no part of a checkpoint.
            assert not parts.loss.state_dict()
            assert not list(parts.loss.parameters())
        last = outputs["fine"]
        torch.testing.assert_close(one, last[next(iter(last))])


@EVERY
def test_from_a_plan_to_predictions_and_their_errors(method, dims, tmp_path, capsys):
    from auto_config.commands.evaluate import evaluate
    from auto_config.commands.predict import predict

    data = write_cases(tmp_path / "data", dims)
    own = METHODS[method].backbone is not None
    # A network of its own takes the patches that it plans.
    small = {"patch_size": None, "network": None} if own else {}
    root = narrow_bundle(data, tmp_path / "bundle", stages=None, dims=dims, method=method, **small)
    state = two_steps(root)
    assert all(torch.isfinite(x).all() for name, x in state.items() if x.is_floating_point() and "shape." not in name)
    # Two are enough for everything that is said of several images.
    for image in sorted((data / "images").iterdir())[2:]:
        image.unlink()
    assert np.isfinite(points_of(root, min((data / "images").iterdir()))).all()
    assert predict(root, data / "images", tmp_path / "out", device="cpu") == 0
    assert evaluate(tmp_path / "out", data, **({"pixel_spacing": [2.0]} if dims == 2 else {})) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert np.isfinite(metrics["mre_mm"]["mean"])


SCRIPTS = Path(configs.__file__).parents[2] / "bundle_scripts"
BEHIND = [
    *(
        SCRIPTS / name
        for name in (
            "points/peaks.py",
            "inference/results.py",
            "inference/outputs.py",
            "inference/prediction_files.py",
            "training/metrics.py",
        )
    ),
    *(SCRIPTS.parent / "evaluation").glob("*.py"),
    *(SCRIPTS.parent / "calibration").glob("*.py"),
]
KNOWS_OUTPUTS = {"methods", "dense", "coarse_to_fine", "flip", "heatmaps"}


@pytest.mark.parametrize("path", BEHIND, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nothing_behind_peaks_knows_methods(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in modules if KNOWS_OUTPUTS & set(name.split("."))}
