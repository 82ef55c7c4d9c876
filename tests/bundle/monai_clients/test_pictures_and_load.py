"""All checks of `verify` on bundles of pictures and of one stage; `load` and `create_workflow` on each kind."""

import json

import pytest
from bundle_tools import ask
from clear_maxima import clear_weights
from steps import narrow_bundle, write_cases

KINDS = [(2, 1), (2, 2), (3, 1), (3, 2)]
"""Spatial dimensions and stages."""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """With first weights, by kind."""
    found = {}
    for dims in (2, 3):
        data = write_cases(tmp_path_factory.mktemp("data"), dims)
        for stages in (1, 2):
            root = tmp_path_factory.mktemp("kinds") / f"blobs_{dims}d_{stages}"
            found[dims, stages] = narrow_bundle(data, root, stages=stages, dims=dims)
            clear_weights(root, "model.pt", dims)
    return found


@pytest.mark.parametrize("kind", [(2, 1), (2, 2), (3, 1)], ids=str)
def test_every_check_of_monai_passes(bundles, kind, server, tmp_path):
    request = {"bundle": str(bundles[kind]), "dataset_dir": None, "answer": str(tmp_path / "answer.json")}
    (tmp_path / "request.json").write_text(json.dumps(request))
    status, output = server.run("auto_config.verification.monai_checks", tmp_path / "request.json", cwd=tmp_path)
    assert status == 0, output
    findings = json.loads((tmp_path / "answer.json").read_text())
    assert {finding["what"] for finding in findings} == {
        "properties of inference",
        "properties of training",
        "properties of evaluation",
        "verify_net_in_out",
        "ckpt_export, scripted",
        "onnx_export",
    }
    # Where onnxruntime is not installed, the last one is not checked.
    assert [f for f in findings if f["state"] != "ok" and f["what"] != "onnx_export"] == []
    assert findings[-1]["state"] in ("ok", "not checked"), findings[-1]


def test_load_gives_the_network_with_its_weights(bundles, server, tmp_path):
    found = ask(server, tmp_path, "workflow_checks", "loaded", [str(bundles[kind]) for kind in KINDS])
    assert found == [["LandmarkNetwork", True]] * 4


def test_a_workflow_opens_without_images(bundles, server, tmp_path):
    found = ask(server, tmp_path, "workflow_checks", "opened_without_images", [str(bundles[kind]) for kind in KINDS])
    assert [one[:2] for one in found] == [["LandmarkNetwork", []]] * 4
