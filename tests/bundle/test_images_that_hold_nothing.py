"""An image in which every landmark is absent is accepted, counted and trained on."""

import json
import shutil

from blobs import HEAD
from bundle_tools import shrink

from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.commands.create import create
from auto_config.commands.inspect import inspect


def test_it_is_counted_and_learnt_from(heads, server, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(heads[0], data)
    empty = sorted((data / "landmarks").iterdir())[0]
    write_markups(empty, LandmarkSet.from_inline(dict.fromkeys(HEAD, "absent")))
    case = empty.name.removesuffix(".mrk.json")
    assert inspect(data, workers=1) == 0
    text = capsys.readouterr().out
    assert f"hold nothing  1 case, all absent: {case}" in text
    assert "no problem found" in text
    bundle = tmp_path / "bundle"
    assert create(data, bundle, network="tiny", patch_size=[16, 16, 16], stages=1, test_fraction=0, workers=1) == 0
    assert "warning" not in capsys.readouterr().err
    numbers = json.loads((bundle / "configs" / "plan.json").read_text())["fingerprint"]
    assert numbers["absent"] == [1] * len(HEAD)
    assert numbers["cases"] == 9
    image = data / "images" / f"{case}.nii.gz"
    items = [{"image": str(image), "label": str(empty)}]
    # Alone in training: whatever is learnt comes from it.
    server.monai(
        shrink(bundle),
        *("run", "training", "--config_file", "configs/train.json", "--train#trainer#max_epochs", 1),
        f"--train#dataset#data={items!r}",
        "--validate#dataset#data=[]",
    )
    assert (bundle / "models" / "model.pt").is_file()
