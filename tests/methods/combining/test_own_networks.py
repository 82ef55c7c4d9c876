"""Networks of MONAI and of users that no table has: what is asked of them, what is filled in, what is refused."""

import json

import numpy as np
import pytest
import torch
from contract_parts import LANDMARKS, parsed, plan_of
from steps import narrow_bundle, points_of, two_steps, write_cases
from torch import nn

from auto_config.bundle.metadata import metadata, references
from auto_config.bundle.parts import network_def
from auto_config.errors import UserError
from auto_config.methods import METHODS
from auto_config.methods.backbones import network_of
from auto_config.methods.choosing import takes_any
from auto_config.planning.own_network import measured

NETS = "monai.networks.nets."
SMALL_UNET = {"_target_": f"{NETS}UNet", "channels": [4, 8, 16], "strides": [2, 2], "num_res_units": 1}


class OtherNames(nn.Module):
    """A network with names of its own for its numbers, which keeps the size of the image."""

    def __init__(self, planes, points, shape=None):
        super().__init__()
        assert shape is None or len(shape) == 2
        self.layer = nn.Conv2d(planes, points, 3, padding=1)

    def forward(self, image):
        return self.layer(image)


class Halves(OtherNames):
    """A network whose output is coarser than the image."""

    def forward(self, image):
        return self.layer(image)[:, :, ::2, ::2]


class NotOnMeta(OtherNames):
    """A network that looks at numbers, which are not there on the device without any."""

    def forward(self, image):
        return self.layer(image) * (1.0 if float(image.sum()) == 0.0 else 2.0)


def written(folder, config):
    """A file with the JSON of a network."""
    path = folder / "network.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


def asked(given, *, dims=2, channels=1, landmarks=3):
    return measured(given, spatial_dims=dims, channels=channels, landmarks=landmarks, memory_gb=8.0)


@pytest.mark.parametrize(("name", "dims", "divisor"), [("SegResNet", 3, 8), ("VNet", 2, 16), ("SwinUNETR", 2, 32)])
def test_channels_are_filled_in_and_the_edges_of_patches_found(name, dims, divisor):
    found = asked(NETS + name, dims=dims, channels=2)
    words = {"spatial_dims": "@spatial_dims", "in_channels": "@channels", "out_channels": "@landmarks"}
    assert found["config"] == {"_target_": NETS + name, **words}
    assert (found["divisor"], found["memory_gb"], found["packages"]) == (divisor, 8.0, [])


def test_memory_is_what_the_layers_give(tmp_path):
    """A convolution of 6 channels on each voxel, two in a quarter of them, and the last one, which is counted apart."""
    convolution = {"_target_": "torch.nn.Conv2d", "in_channels": 6, "out_channels": 2, "kernel_size": 2, "stride": 2}
    layers = [
        {"_target_": "torch.nn.Conv2d", "in_channels": "@channels", "out_channels": 6, "kernel_size": 1},
        convolution,
        {**convolution, "_target_": "torch.nn.ConvTranspose2d", "in_channels": 2, "out_channels": "@landmarks"},
    ]
    config = {"_target_": "test_own_networks.InRow", "layers": layers}
    found = asked(written(tmp_path, config))
    assert (found["divisor"], found["values_per_voxel"]) == (2, 6.5)


class InRow(nn.Sequential):
    """Layers one after the other."""

    def __init__(self, layers):
        super().__init__(*layers)


def test_other_names_and_the_patch_are_filled_in_where_the_file_says_so(tmp_path):
    config = {"_target_": "test_own_networks.OtherNames", "planes": "@channels", "points": "@landmarks"}
    plan = plan_of("default", 2, 1, network=written(tmp_path, {**config, "shape": "@patch_size"}))
    own, stage = network_of(plan), plan.value("stages")[0]
    made = own.config(stage, 2, 1, 3)
    assert made == {**config, "planes": 1, "points": 3, "shape": stage["patch_size"]}
    assert own.name == "test_own_networks.OtherNames"
    assert own.memory_gb is None
    assert "test_own_networks" in " ".join(references(plan))


def test_a_network_that_looks_at_numbers_is_called_with_some(tmp_path):
    config = {"_target_": "test_own_networks.NotOnMeta", "planes": "@channels", "points": "@landmarks"}
    assert asked(written(tmp_path, config))["divisor"] == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("monai.networks.nets.NoSuchNet", "cannot be imported .*; give the class with its modules"),
        ("no_such_package.Net", "cannot be imported .*; give the class with its modules"),
        (NETS + "UNet", r"needs channels, strides; give a \.json file with its _target_ and these arguments"),
        (NETS + "BasicUNetPlusPlus", "gives a list for an image of 1x1x65x65, .*is needed: 1x3x65x65"),
        ("torch.nn.Identity", "gives 1x1x65x65 for an image of 1x1x65x65, .*is needed: 1x3x65x65"),
        ("missing.json", r"No such file or directory; give a \.json file with _target_ and arguments"),
    ],
)
def test_what_is_no_network_for_landmarks_is_refused_in_one_line(given, message):
    with pytest.raises(UserError, match=message) as error:
        asked(given)
    assert str(error.value).startswith(f"--network {given}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"is no JSON \(.*\); correct the file"),
        ("[]", 'has no _target_; write {"_target_": '),
        ('{"_target_": "monai.networks.nets.UNet", "channels": [4], "strides": [2]}', "cannot be built"),
        (
            '{"_target_": "test_own_networks.Halves", "planes": 1, "points": 3}',
            "gives 1x3x33x33 for an image of 1x1x65x65, .*is needed: 1x3x65x65",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "network.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message) as error:
        asked(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("stages", [1, 2])
def test_a_plan_holds_all_that_a_bundle_needs_of_it(tmp_path, dims, stages):
    plan = plan_of("default", dims, stages, network=written(tmp_path, SMALL_UNET))
    again = type(plan).from_json(plan.to_json())
    assert network_def(again, LANDMARKS) == network_def(plan, LANDMARKS)
    assert all(edge % 4 == 0 for stage in plan.value("stages") for edge in stage["patch_size"])
    network = parsed({"network": network_def(plan, LANDMARKS)}).get_parsed_content("network").eval()
    images = {stage["name"]: torch.zeros(1, 1, *stage["patch_size"]) for stage in plan.value("stages")}
    with torch.inference_mode():
        outputs = network(images)
    for stage in plan.value("stages"):
        assert outputs[stage["name"]]["logits"].shape == (1, LANDMARKS, *stage["patch_size"])
    names = [{"name": name, "slug": name} for name in ("a", "b", "c")]
    formats = metadata(plan, "own", {"landmarks": names}, 20)["network_data_format"]
    assert formats["outputs"]["pred"]["spatial_shape"] == plan.stage("fine")["patch_size"]


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if takes_any(row)])
def test_every_method_of_heatmaps_takes_it(method, tmp_path):
    plan = plan_of(method, 2, network=written(tmp_path, SMALL_UNET))
    made = network_def(plan, LANDMARKS)["stages"]["fine"]
    made = made.get("network", made)
    maps = sum(METHODS[method].parts(plan, plan.stage("fine")).heads.values())  # some have two for each landmark
    assert maps in (LANDMARKS, 2 * LANDMARKS)
    assert made == {**SMALL_UNET, "spatial_dims": 2, "in_channels": 1, "out_channels": maps}


def test_a_bundle_of_it_trains_and_predicts(tmp_path):
    data = write_cases(tmp_path / "data", 2)
    root = narrow_bundle(
        data, tmp_path / "bundle", stages=2, dims=2, network=written(tmp_path, SMALL_UNET), patch_size=[32, 32]
    )
    state = two_steps(root)
    assert all(torch.isfinite(x).all() for name, x in state.items() if x.is_floating_point() and "shape." not in name)
    assert np.isfinite(points_of(root, sorted((data / "images").iterdir())[0])).all()
