"""`ckpt_export` and `onnx_export`, as MONAI's model zoo calls them, on a bundle of every kind of network."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from bundle_tools import config, shrink
from contract_parts import kinds
from monai.bundle import ConfigParser
from steps import write_cases

from auto_config.bundle import opened
from auto_config.commands.create import create
from auto_config.methods import METHODS

CHOSEN = (
    ("default", "resenc_m", 3),
    *(("default", network, dims) for network in ("hourglass", "coord_conv") for dims in (2, 3)),
    ("global_to_local", "grid_single", 3),
)
"""Networks that a user may name, which are made of other modules than those of the methods."""

SMALLEST = {"hourglass": 64}
"""Voxels of a patch, where 16 are too few."""

KINDS = [*((name, METHODS[name].backbone or "tiny", 3) for name in kinds(3)), *CHOSEN]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: "{}-{}-{}D".format(*kind))
def bundle(request, heads, tmp_path_factory):
    """A bundle of the method with first weights; in two stages where the method leaves that to the planner."""
    method, network, dims = METHODS[request.param[0]], *request.param[1:]
    root = tmp_path_factory.mktemp("exports") / method.name
    # A network of its own plans its own patches: on a coarse grid they are small.
    small = {"patch_size": [SMALLEST.get(network, 16)] * dims} if method.backbone is None else {"spacing": [4.0] * dims}
    small |= {"network": network, "few_labels": False, "workers": 1}
    data = heads[0]
    if dims == 2:
        data = write_cases(tmp_path_factory.mktemp("pictures"), 2)
        small["pixel_spacing"] = [2.0]
    stages = 2 if method.stages == "planned" else None
    assert create(data, root, method=method.name, stages=stages, **small) == 0
    state = network_of(shrink(root)).state_dict()
    # The residual blocks of new networks are their shortcuts: here they are more.
    for name in (name for name, weight in state.items() if name.endswith("norm.weight") and not weight.any()):
        state[name] = torch.ones_like(state[name])
    torch.save(state, root / "models" / "model.pt")
    return root


def network_of(root):
    """The network of inference.json."""
    package = opened._import_scripts(root / "scripts")
    written = opened._with_package({**config(root, "inference"), "bundle_root": str(root)}, package)
    torch.manual_seed(0)
    return ConfigParser(written).get_parsed_content("network_def").eval()


def image_of(root):
    """A patch as metadata.json describes it, and what the network says of it."""
    described = config(root, "metadata")["network_data_format"]["inputs"]["image"]
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, described["num_channels"], *described["spatial_shape"], generator=generator)
    network = network_of(root)
    network.load_state_dict(torch.load(root / "models" / "model.pt", weights_only=True))
    with torch.inference_mode():
        return image, network(image)


def arguments(root, target):
    """As ci/verify_bundle.py of the model zoo calls both commands, from the bundle's folder."""
    return (
        *("--net_id", "network_def", "--filepath", target, "--ckpt_file", "models/model.pt"),
        *("--meta_file", "configs/metadata.json", "--config_file", "configs/inference.json"),
    )


def test_torchscript_by_scripting(bundle, server, tmp_path):
    server.monai(bundle, "ckpt_export", *arguments(bundle, tmp_path / "model.ts"))
    image, expected = image_of(bundle)
    extra = {"metadata.json": "", "inference.json": ""}
    scripted = torch.jit.load(str(tmp_path / "model.ts"), _extra_files=extra).eval()
    with torch.inference_mode():
        torch.testing.assert_close(scripted(image), expected, atol=1e-4, rtol=1e-4)
        # Scripted and not traced: other sizes are no other code.
        larger = image.repeat_interleave(2, dim=2)
        assert scripted(larger).shape[2] == 2 * expected.shape[2]
    assert json.loads(extra["metadata.json"])["name"] == bundle.name
    assert "network_def" in json.loads(extra["inference.json"])


def outputs_of(path, image):
    """What an ONNX file says of an image; by its reference where the runtime, which takes a tenth, is not there."""
    if find_spec("onnxruntime") is None:
        from onnx.reference import ReferenceEvaluator

        model = ReferenceEvaluator(str(path))
        return model.run(None, {model.input_names[0]: image})
    from onnxruntime import InferenceSession

    model = InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return model.run(None, {model.get_inputs()[0].name: image})


@pytest.fixture(scope="module")
def ready_for_onnx(server):
    """What exports to ONNX is imported, and its tables made, once for all commands: half of the time of each."""
    small = "torch.onnx.export(torch.nn.Conv1d(1, 1, 1).eval(), (torch.zeros(1, 1, 4),), io.BytesIO(), verbose=False)"
    server.prepare(f"import io, torch; {small}")


@pytest.mark.skipif(find_spec("onnx") is None or find_spec("onnxscript") is None, reason="needs onnx and onnxscript")
def test_onnx(bundle, server, ready_for_onnx, tmp_path):
    server.monai(bundle, "onnx_export", *arguments(bundle, tmp_path / "model.onnx"))
    image, expected = image_of(bundle)
    (found,) = outputs_of(tmp_path / "model.onnx", image.numpy())
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-3)


def test_shapes_are_those_of_the_metadata(bundle, server):
    server.monai(
        bundle,
        *("verify_net_in_out", "--net_id", "network_def", "--device", "cpu"),
        *("--meta_file", "configs/metadata.json", "--config_file", "configs/inference.json"),
    )
    # Of the output MONAI compares the channels alone.
    told = config(bundle, "metadata")["network_data_format"]["outputs"]["pred"]
    assert list(image_of(bundle)[1].shape) == [1, told["num_channels"], *told["spatial_shape"]]


def test_the_limitations_say_nothing_else(bundle):
    text = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    assert "ckpt_export" in text
    assert "cannot script" not in text
