"""`export` of bundles that `pipeline.json` has no words for: the networks are written and checked all the same."""

import contextlib
import io
import re

import numpy as np
import pytest
import torch
from steps import narrow_bundle, two_steps, write_cases

from auto_config.bundle.opened import open_bundle
from auto_config.commands.export import export
from auto_config.exporting.stages import stage_networks
from auto_config.methods import METHODS

pytest.importorskip("onnxruntime")

# Of the page's "for all others": pictures, several heads for a stage, and cells of a grid that vote.
KINDS = {
    "pictures": ("default", 2, "pictures"),
    "several heads": ("luvli", 3, "more than one heatmap"),
    "votes": ("global_to_local", 3, "more than one heatmap"),
}


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.replace(" ", "_"))
def trained(request, tmp_path_factory):
    """A bundle after two steps, its first image, and why it has no ``pipeline.json``."""
    method, dims, reason = KINDS[request.param]
    data = write_cases(tmp_path_factory.mktemp("data"), dims, cases=4)
    root = tmp_path_factory.mktemp("bundles") / method
    # A network of its own plans its own patches.
    own = {} if METHODS[method].backbone is None else {"network": None, "patch_size": None, "spacing": [4.0] * dims}
    narrow_bundle(
        data, root, stages=1 if METHODS[method].stages == "planned" else None, dims=dims, method=method, **own
    )
    two_steps(root)
    return root, sorted((data / "images").iterdir())[0], reason


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """Where the exports are, and what the command printed."""
    root, image, _ = trained
    folder = tmp_path_factory.mktemp("exports") / root.name
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        assert export(root, folder, format="all", image=image) == 0
    return folder, said.getvalue().splitlines()


def test_the_networks_are_there_and_a_note_says_why_there_is_no_pipeline(trained, exported):
    root, _, reason = trained
    folder, said = exported
    stages = [one.name for one in stage_networks(open_bundle(root, device="cpu"))]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{stage}.{ending}" for stage in stages for ending in ("onnx", "ts")
    )
    (note,) = [line for line in said if "no pipeline.json" in line]
    assert reason in note, note


def test_each_format_was_compared_with_the_points_of_the_bundle(trained, exported):
    _, image, _ = trained
    for kind in ("onnx", "torchscript"):
        (line,) = [line for line in exported[1] if line.startswith(f"{kind}: ")]
        found = re.fullmatch(rf"{kind}: outputs differ by up to (\S+) of .*, points by up to (\S+) mm in (\S+)", line)
        assert found, line
        assert float(found[1]) <= 1e-3
        assert float(found[2]) <= 0.2
        assert found[3] == str(image)


def test_the_files_give_what_the_networks_give(trained, exported):
    """Read anew, so that a file that was checked and then replaced by another one is found."""
    import onnxruntime

    for one in stage_networks(open_bundle(trained[0], device="cpu")):
        patches = torch.randn(2, one.channels, *one.size, generator=torch.Generator().manual_seed(2))
        with torch.inference_mode():
            expected = one.network(patches).numpy()
            scripted = torch.jit.load(str(exported[0] / f"{one.name}.ts"))(patches).numpy()
        session = onnxruntime.InferenceSession(str(exported[0] / f"{one.name}.onnx"))
        (found,) = session.run(None, {"image": patches.numpy()})
        for other in (found, scripted):
            np.testing.assert_allclose(other, expected, atol=1e-3 * np.abs(expected).max())
