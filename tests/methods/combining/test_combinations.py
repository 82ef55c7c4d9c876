"""Targets, losses and decoders in any combination that fits: JSON, best outputs, refusals, bundles."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from contract_parts import EDGES, LANDMARKS, best_output, parts_of, plan_of, points_in, sample, truth_of
from steps import narrow_bundle, points_of, two_steps, write_cases

from auto_config.errors import UserError
from auto_config.methods import METHODS
from auto_config.methods.choosing import check_names, networks_of, takes_any
from auto_config.methods.combining.chosen import Combination, chosen, combined, decoders_of, losses_of, targets_of
from auto_config.methods.combining.chosen import parts_of as rows_of
from auto_config.methods.combining.decoders import DECODERS
from auto_config.methods.combining.losses import LOSSES
from auto_config.methods.combining.of_plan import method_of
from auto_config.methods.combining.targets import TARGETS

EXCHANGED = [name for name, method in METHODS.items() if method.loss is not None]


def triples(method):
    """Every combination that a method takes."""
    return [
        (target, loss, decoder)
        for loss in losses_of(METHODS[method])
        for target in targets_of(LOSSES[loss]) or (None,)
        for decoder in decoders_of(LOSSES[loss])
    ]


HEATMAPS = triples("default")
VOTES = triples("global_to_local")


@pytest.mark.parametrize("method", EXCHANGED)
@pytest.mark.parametrize("dims", [2, 3])
def test_the_rows_that_a_method_names_make_its_own_parts(method, dims):
    """So that a table that is changed and a method that is not are seen."""
    plan = plan_of(method, dims)
    for stage in plan.value("stages"):
        own, made = (parts(plan, stage) for parts in (METHODS[method].parts, _by_rows(METHODS[method])))
        assert replace(own, output_layer=None) == replace(made, output_layer=None)
        if own.output_bias is not None:
            assert own.output_layer == made.output_layer


def _by_rows(method):
    return lambda plan, stage: rows_of(plan, stage, Combination.own(method))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    ("method", "target", "loss", "decoder"),
    [("default", *names) for names in HEATMAPS] + [("global_to_local", *names) for names in VOTES],
)
def test_the_best_output_of_each_combination_decodes_to_the_points(method, target, loss, decoder, dims):
    stages = None if method == "global_to_local" else 1
    plan = plan_of(method, dims, stages, target=target, loss=loss, decoder=decoder)
    assert plan.value("parts") == {"target": target, "loss": loss, "decoder": decoder}
    parts = parts_of(plan)[-1]
    size = parts.size(*EDGES[dims])
    points = points_in(size)[None]
    status = torch.ones(1, LANDMARKS, dtype=torch.int64)
    output = best_output(parts, truth_of(points, status), size)
    found = parts.decoder.decode(sample(output, 0))
    # Cells alone say where a landmark is to half a cell.
    tolerance = parts.stride if loss == "votes_cells" else DECODERS[decoder].tolerance
    if target == "laplacian":  # its peak is sharp, which a mean shift reads less exactly along thick axes
        tolerance = max(tolerance, 0.06)
    assert float(torch.linalg.vector_norm(found.points - points[0], dim=-1).max()) <= tolerance
    assert method_of(plan).loss == loss


def test_what_is_not_given_is_the_method_s_or_the_first_that_fits():
    method = METHODS["default"]
    assert chosen(method, None, None, None) == Combination("cone", "bce_and_cross_entropy", "argmax")
    assert chosen(method, None, "top_k_bce", None) == Combination("cone", "top_k_bce", "argmax")
    assert chosen(method, None, "hard_negatives", None) == Combination("ball", "hard_negatives", "top_centroid")
    assert chosen(method, "gaussian", "mse", None) == Combination("gaussian", "mse", "taylor")
    assert chosen(method, None, "one_hot", None) == Combination(None, "one_hot", "argmax")
    assert combined(method, Combination.own(method)) is method
    changed = combined(method, chosen(method, None, "mse", None))
    assert (changed.instances, changed.stages, changed.target) == (False, method.stages, "cone")
    assert "Payer" in changed.citation and method.citation in changed.citation


@pytest.mark.parametrize("target", ["gaussian", "laplacian"])
@pytest.mark.parametrize("dims", [2, 3])
def test_widths_are_two_voxels_of_the_finest_axis_and_the_same_mm_along_each(target, dims):
    plan = plan_of("default", dims, 1, loss="mse", target=target)
    stage = plan.value("stages")[-1]
    sigma = method_of(plan).parts(plan, stage).target["sigma"]
    assert len(set(stage["spacing"])) > 1
    assert np.multiply(sigma, stage["spacing"]) == pytest.approx([2 * min(stage["spacing"])] * dims, rel=1e-3)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_first_bias_is_the_plan_s_number_and_none_where_it_has_none(dims):
    plan = plan_of("default", dims, 1, loss="top_k_bce")
    parts = method_of(plan).parts(plan, plan.value("stages")[-1])
    assert (parts.output_bias, parts.output_layer is None) == (-4.0, False)
    del plan.value("loss")["output_bias"]  # as plans of earlier versions
    earlier = method_of(plan).parts(plan, plan.value("stages")[-1])
    assert (earlier.output_bias, earlier.output_layer) == (None, None)
    own = plan_of("nnlandmark", dims)
    assert method_of(own).parts(own, own.value("stages")[-1]).output_bias is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target": "disc"}, "--target must be one of cone, gaussian, laplacian, ball, got 'disc'"),
        ({"loss": "dice"}, "--loss must be one of bce_and_cross_entropy, .*, got 'dice'"),
        ({"decoder": "x"}, "--decoder must be one of argmax, .*, got 'x'"),
        (
            {"target": "ball"},
            "--target ball: loss bce_and_cross_entropy compares heatmaps from 0 to 1; give --target cone or gaussian "
            "or laplacian, or --loss hard_negatives",
        ),
        (
            {"target": "cone", "loss": "one_hot"},
            "--target cone: loss one_hot makes no heatmap; give no --target, or --loss bce_and_cross_entropy or "
            "top_k_bce or mse",
        ),
        (
            {"decoder": "top_centroid"},
            "--decoder top_centroid: loss bce_and_cross_entropy gives logits of a distribution; give --decoder argmax "
            "or local_soft_argmax or taylor or spatial_mean, or --loss hard_negatives",
        ),
        (
            {"method": "global_to_local", "loss": "mse"},
            "--loss mse: does not fit the heads of method global_to_local; give --loss votes or .*",
        ),
        (
            {"network": "flexible_unet"},
            "--network flexible_unet: method default does not take a distribution, its loss is bce_and_cross_entropy; "
            "give --network tiny or .*, or give --method landmarker or dsnt or wing or uglli or star",
        ),
        (
            {"method": "luvli", "network": "flexible_unet"},
            "--network flexible_unet: method luvli does not take a distribution; give --network tiny or .*, or give "
            "--method landmarker or .*",
        ),
        (
            {"method": "landmarker", "loss": "mse"},
            "--loss mse: does not fit network flexible_unet; give --network tiny or .* with it",
        ),
        (
            {"method": "global_to_local", "network": "plain"},
            "--network plain: method global_to_local has its own network, grid or grid_single; omit --network, or give "
            "--method default or .*",
        ),
        (
            {"method": "global_to_local", "network": "monai.networks.nets.SwinUNETR"},
            "--network monai.networks.nets.SwinUNETR: method global_to_local has its own network, grid; omit "
            "--network, or give --method default or .*",
        ),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_refused_in_one_line_with_what_would(given, message):
    names = {"method": None, "network": None, **given}
    with pytest.raises(UserError, match=f"^{message}$"):
        check_names(**names)


def test_a_method_that_names_no_parts_keeps_its_own():
    alone = replace(METHODS["default"], name="alone", target=None, loss=None, decoder=None)
    assert losses_of(alone) == ()
    with pytest.raises(UserError, match=r"^--loss mse: method alone keeps its own target, loss and decoder; omit it$"):
        chosen(alone, None, "mse", None)
    assert takes_any(alone)
    assert not takes_any(replace(alone, backbone="plain"))


@pytest.mark.parametrize("method", EXCHANGED)
def test_names_of_a_method_fit_each_other_and_its_network(method):
    row = METHODS[method]
    assert chosen(row, row.target, row.loss, row.decoder) == Combination.own(row)
    assert row.backbone is None or row.backbone in networks_of(row)


def test_every_row_is_of_use():
    """Each target has a loss, each loss a decoder, and each decoder a loss."""
    used = {name for loss in LOSSES.values() for name in targets_of(loss)}
    assert used == set(TARGETS)
    assert all(decoders_of(loss) for loss in LOSSES.values())
    assert {name for loss in LOSSES.values() for name in decoders_of(loss)} == set(DECODERS)


@pytest.mark.parametrize(
    "options",
    [
        {"target": "gaussian", "loss": "mse", "decoder": "taylor"},
        {"loss": "one_hot"},
        {"method": "landmarker", "network": "tiny"},
    ],
    ids=lambda options: "-".join(options.values()),
)
def test_a_bundle_of_other_parts_trains_and_predicts(options, tmp_path):
    data = write_cases(tmp_path / "data", 2)
    root = narrow_bundle(data, tmp_path / "bundle", stages=1, dims=2, **{"patch_size": None, **options})
    plan = json.loads((root / "configs/plan.json").read_text(encoding="utf-8"))["decisions"]
    names = [options.get(part) for part in ("target", "loss", "decoder")]
    expected = chosen(METHODS[options.get("method", "default")], *names)
    assert plan["parts"]["value"] == vars(expected)
    state = two_steps(root)
    assert all(torch.isfinite(x).all() for name, x in state.items() if x.is_floating_point() and "shape." not in name)
    assert np.isfinite(points_of(root, sorted((data / "images").iterdir())[0])).all()
