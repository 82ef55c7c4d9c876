"""MONAI Label's stock task trains a bundle on two corrected cases, as its server would."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from bundle_tools import same, weights

CLIENT = """
import json, sys
from monailabel.tasks.train.bundle import BundleTrainTask

root, request, items = json.loads(sys.argv[1])


class Datastore:
    def datalist(self):
        return items


BundleTrainTask(root, {})(request, Datastore())
"""


def test_two_labelled_items_train(two_stage_bundle, heads, server, copy_of, tmp_path):
    pytest.importorskip("monailabel", reason="MONAI Label is not installed (extra 'label')")
    bundle = copy_of(two_stage_bundle)
    server.monai(bundle, "run", "training", "--config_file", "configs/train.json", "--train#trainer#max_epochs", 1)
    before = weights(bundle)
    shutil.rmtree(bundle / "models")
    (bundle / "models").mkdir()
    torch.save(before, bundle / "models" / "model.pt")
    folder = tmp_path / "labels" / "final"
    folder.mkdir(parents=True)
    items = []
    for path in sorted((heads[0] / "images").iterdir())[:2]:
        label = folder / f"{path.name[:-7]}.mrk.json"
        shutil.copy(heads[0] / "landmarks" / label.name, label)
        items.append({"image": str(path), "label": str(label)})
    (tmp_path / "client.py").write_text(CLIENT)
    request = {
        "model": bundle.name,
        "device": "cpu",
        "max_epochs": 2,
        "val_split": 0.2,
        "pretrained": True,
        "run_id": "run",
        "multi_gpu": False,
        "tracking": "None",
    }
    status, output = server.run("client", json.dumps([str(bundle), request, items]), cwd=Path(tmp_path))
    assert status == 0, output
    latest = weights(bundle, "fold_0/latest.pt")
    assert latest["epoch"] == 2
    after = weights(bundle)
    # Two cases leave none to validate with, so the last weights are kept.
    assert latest["best"] is None
    assert same(after, latest["network"])
    # It went on from the weights it found: two short epochs do not lead far away from them.
    change = max(float((after[n] - before[n]).abs().max()) for n in before if n.endswith("conv.weight"))
    assert 0 < change < 0.05
