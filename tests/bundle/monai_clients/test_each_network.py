"""What MONAI's commands and clients ask of a bundle, asked of each kind of network.

For pictures, which take a third of the time; the networks of volumes are those of test_exports.py, and volumes with
one stage and with two those of test_bundle_contract.py, test_pictures_and_load.py and test_federated.py.
"""

import json
import math

import pytest
from bundle_tools import ask
from clear_maxima import clear_weights
from contract_parts import kinds
from steps import narrow_bundle, write_cases

from auto_config.bundle.metadata import SCHEMA
from auto_config.methods import METHODS

OWN = "of one's own"
UNET = {"_target_": "monai.networks.nets.UNet", "channels": [4, 8], "strides": [2], "num_res_units": 1}
KINDS = [(name, "tiny") for name in kinds(2)]
KINDS += [("default", network) for network in ("resenc_m", OWN)]
TENSOR = ("type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data", "channel_def")
TEXTS = ("version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors", "copyright")
# Of the metadata by the text of MONAI's specification of bundles; the schema itself MONAI fetches from the network.
SPECIFIED = {
    "type": "object",
    "required": [*TEXTS, "schema", "changelog", "network_data_format", "required_packages_version"],
    "properties": {
        **{text: {"type": "string", "minLength": 1} for text in TEXTS},
        "schema": {"const": SCHEMA},
        "changelog": {"type": "object", "additionalProperties": {"type": "string"}},
        "required_packages_version": {"type": "object", "additionalProperties": {"type": "string"}},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "additionalProperties": {
                "type": "object",
                "additionalProperties": {"type": "object", "required": list(TENSOR)},
            },
        },
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("data"), 2)


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def bundle(request, data, tmp_path_factory):
    """With first weights; in one stage or in two as the method has it."""
    method, network = request.param
    more = {}
    if network == OWN:
        place = tmp_path_factory.mktemp("network") / "unet.json"
        place.write_text(json.dumps(UNET))
        network, more = str(place), {"patch_size": [32, 32]}
    # A network of its own plans its own patches.
    own = METHODS[method].backbone is not None
    options = {"patch_size": None, "network": None} if own else {"network": network}
    root = tmp_path_factory.mktemp("kinds") / method
    narrow_bundle(data, root, stages=None, dims=2, method=method, **options, **more)
    clear_weights(root, "model.pt", 2)
    return root


def test_properties_shapes_and_metadata(bundle, server, tmp_path):
    checks = [
        {"bundle": str(bundle), "type": kind, "configs": configs, "overrides": {"output_dir": str(tmp_path)}}
        for kind, configs in (("train", ["train"]), ("train", ["train", "evaluate"]), ("infer", ["inference"]))
    ]
    assert ask(server, tmp_path, "workflow_checks", "properties", checks) == [[], [], []]
    server.monai(
        bundle,
        *("verify_net_in_out", "--net_id", "network_def", "--device", "cpu"),
        *("--meta_file", "configs/metadata.json", "--config_file", "configs/inference.json"),
    )
    pytest.importorskip("jsonschema", reason="MONAI's verify_metadata needs jsonschema")
    (tmp_path / "schema.json").write_text(json.dumps(SPECIFIED))
    command = ("verify_metadata", "--meta_file", "configs/metadata.json", "--filepath", tmp_path / "schema.json")
    server.monai(bundle, *command)


def test_load_gives_the_weights_and_a_workflow_opens(bundle, server, tmp_path):
    assert ask(server, tmp_path, "workflow_checks", "loaded", [str(bundle)]) == [["LandmarkNetwork", True]]
    ((network, missing, _),) = ask(server, tmp_path, "workflow_checks", "opened_without_images", [str(bundle)])
    assert (network, missing) == ("LandmarkNetwork", [])


def test_a_client_of_federated_learning_trains(bundle, server, tmp_path):
    (answer,) = ask(server, tmp_path, "federated", "rounds", [str(bundle)])
    assert answer["finite"] == [True, True, True]
    assert answer["types"] == [True, True]
    assert answer["epochs"] == [1, 2]
    assert min(answer["cases"]) >= 2
    assert answer["sums"] and answer["best"]
    assert math.isfinite(answer["error"])
