"""The test to keep green: every way to the points gives the same points, from the newest weights, on the newest labels.

Two different bundles in fresh processes that use both, images in PIR orientation and with thick slices, a patch smaller
than the image, one label corrected in place and trained on again for as many epochs as the caller chose.
"""

import csv
import json
import shutil
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from blobs import HEAD, ODD
from bundle_tools import ask, weights

from auto_config.bundle_scripts.points.landmark_files import read_markups, write_markups

TOLERANCE_VOXELS = 0.01
SMALLEST_SPACING_MM = 1.8
EPOCHS = 3
MOVED_MM = np.array([6.0, -5.0, 4.0])
MARK = '"mark": "odd", '
EARLIER = Path(__file__).parents[1] / "methods" / "old_bundle.zip"


@dataclass
class Trained:
    """A bundle before and after its label was corrected."""

    root: Path
    names: tuple[str, ...]
    images: list[str]
    items: list[dict[str, str]]
    old: dict
    new: dict
    old_points: dict
    corrected: str


def by_name(landmarks):
    return {item["name"]: item["world"] for item in landmarks}


@pytest.fixture(scope="module")
def trained(two_stage_bundle, one_stage_bundle, heads, odd, server, tmp_path_factory):  # noqa: PLR0917
    """Both bundles, trained on landmark files, and again after one file of each was corrected."""
    folder = tmp_path_factory.mktemp("seams")
    both = []
    for source, names, (data, _) in ((two_stage_bundle, HEAD, heads), (one_stage_bundle, ODD, odd)):
        root = folder / source.name
        shutil.copytree(source, root)
        labels = folder / f"labels_{source.name}"
        shutil.copytree(data / "landmarks", labels)
        images = sorted(str(path) for path in (data / "images").iterdir())
        items = [{"image": x, "label": str(labels / f"{Path(x).name[:-7]}.mrk.json")} for x in images]
        both.append(Trained(root, names, images, items, {}, {}, {}, items[2]["label"]))
    # The second bundle's own code can be told apart.
    results = both[1].root / "scripts" / "inference" / "results.py"
    text = results.read_text(encoding="utf-8")
    results.write_text(text.replace('"name": name,', '"name": name, ' + MARK), encoding="utf-8")
    first = [[str(one.root), {"train#dataset#data": one.items}] for one in both]
    assert ask(server, folder, "both_bundles", "train", first) == [str(one.root) for one in both]
    points = ask(server, folder, "both_bundles", "predict", [[str(one.root), one.images] for one in both])
    for one, found in zip(both, points, strict=True):
        one.old, one.old_points = weights(one.root), found
        before = read_markups(Path(one.corrected))
        moved = before.points.copy()
        moved[0] += MOVED_MM
        write_markups(Path(one.corrected), replace(before, points=moved))
        server.monai(
            one.root,
            *("run", "training", "--config_file", "configs/train.json", f"--train#dataset#data={one.items!r}"),
            *("--train#trainer#max_epochs", EPOCHS),
        )
        one.new = weights(one.root)
    return both


@pytest.fixture(scope="module")
def predicted(trained, server, tmp_path_factory):
    """What `predict` says, both bundles open in one process."""
    folder = tmp_path_factory.mktemp("predict")
    return ask(server, folder, "both_bundles", "predict", [[str(one.root), one.images] for one in trained])


def read_predictions(path):
    points = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            world = [float(row[f"{axis}_ras_mm"]) for axis in "xyz"]
            points.setdefault(row["case"], {})[row["landmark"]] = world
    return points


def assert_same(points, expected):
    """Both by image path or case name, then by landmark name."""
    assert points.keys() == expected.keys()
    for case, mine in expected.items():
        assert list(points[case]) == list(mine)
        for name, world in mine.items():
            distance = np.linalg.norm(np.subtract(points[case][name], world))
            assert distance < TOLERANCE_VOXELS * SMALLEST_SPACING_MM, (case, name, points[case][name], world)


def test_training_ran_for_the_epochs_that_the_caller_chose(trained):
    for one in trained:
        latest = weights(one.root, "fold_0/latest.pt")
        assert latest["epoch"] == EPOCHS
        # The schedule went to its end, so it knew of the number as well.
        assert latest["schedule"]["progress"] == 1.0


def test_training_saw_the_corrected_label(trained):
    for one in trained:
        # The shape model is the aligned mean of the labels: only one of them has changed.
        assert not torch.equal(one.old["shape.mean"], one.new["shape.mean"])
        shift = (one.new["shape.mean"] - one.old["shape.mean"]).norm(dim=1)
        assert shift[0] > 0.3
        assert shift[0] == shift.max()


def test_new_weights_were_written(trained):
    for one in trained:
        assert one.old.keys() == one.new.keys()
        trainable = [name for name in one.new if name.endswith("weight")]
        assert not any(torch.equal(one.old[name], one.new[name]) for name in trainable)


def test_predict_uses_the_new_weights_of_its_own_bundle(trained, predicted):
    for one, points in zip(trained, predicted, strict=True):
        assert list(points) == one.images
        for image in one.images:
            assert [item["name"] for item in points[image]] == list(one.names)
            assert by_name(points[image]) != by_name(one.old_points[image])
            marks = {item.get("mark") for item in points[image]}
            assert marks == ({"odd"} if one.names == ODD else {None})


def test_evaluating_gives_the_same_points(trained, predicted, server, tmp_path):
    for one, points in zip(trained, predicted, strict=True):
        out = tmp_path / one.root.name
        server.monai(
            one.root,
            *("run", "evaluating", "--config_file", "['configs/train.json','configs/evaluate.json']"),
            *(f"--validate#dataset#data={one.items!r}", "--output_dir", out),
        )
        expected = {Path(image).name[:-7]: by_name(items) for image, items in points.items()}
        assert_same(read_predictions(out / "predictions.csv"), expected)


def test_stock_inference_gives_the_same_points(trained, predicted, server, tmp_path):
    for one, points in zip(trained, predicted, strict=True):
        out = tmp_path / one.root.name
        server.monai(
            one.root,
            *("run", "--config_file", one.root / "configs" / "inference.json", "--bundle_root", one.root),
            *("--dataset_dir", Path(one.images[0]).parent, "--output_dir", out),
            cwd=tmp_path,
        )
        expected = {Path(image).name[:-7]: by_name(items) for image, items in points.items()}
        assert_same(read_predictions(out / "predictions.csv"), expected)
        markups = read_markups(out / f"{Path(one.images[0]).name[:-7]}.mrk.json")
        assert markups.names == one.names


def test_monai_label_gives_the_same_points(trained, predicted, server, tmp_path):
    pytest.importorskip("monailabel", reason="MONAI Label is not installed (extra 'label')")
    import nibabel as nib

    answers = ask(server, tmp_path, "both_bundles", "label", [[str(one.root), one.images] for one in trained])
    for one, points, answer in zip(trained, predicted, answers, strict=True):
        files, labels = answer.pop("files"), answer.pop("labels")
        assert list(labels.values()) == list(range(1, len(one.names) + 1))
        expected = {image: by_name(items) for image, items in points.items()}
        assert_same({image: by_name(items) for image, items in answer.items()}, expected)
        for image, file in files.items():
            balls, original = nib.load(file), nib.load(image)
            assert balls.shape == original.shape
            np.testing.assert_allclose(balls.affine, original.affine, atol=1e-4)
            assert {item.get("mark") for item in answer[image]} == ({"odd"} if one.names == ODD else {None})


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A bundle of an earlier version: its scripts lie in one folder, those of today in packages."""
    folder = tmp_path_factory.mktemp("earlier")
    with zipfile.ZipFile(EARLIER) as archive:
        archive.extractall(folder)
    assert not (folder / "bundle" / "scripts" / "points").exists()
    return folder


def test_bundles_of_two_ages_predict_in_one_process(trained, predicted, earlier, server, tmp_path):
    image, mine = str(earlier / "data/images/c0.nii.gz"), trained[0]
    bundles = [[str(earlier / "bundle"), [image]], [str(mine.root), mine.images[:1]]]
    old, new = ask(server, tmp_path, "both_bundles", "predict", bundles)
    assert_points_of_two_ages(earlier, old[image], mine, new, predicted[0])


def test_bundles_of_two_ages_take_turns_in_monai_label(trained, predicted, earlier, server, tmp_path):
    pytest.importorskip("monailabel", reason="MONAI Label is not installed (extra 'label')")
    image, mine = str(earlier / "data/images/c0.nii.gz"), trained[0]
    # Old, new, old, new: each finds its own modules after those of the other were loaded.
    bundles = [[str(earlier / "bundle"), [image] * 2], [str(mine.root), mine.images[:1] * 2]]
    old, new = ask(server, tmp_path, "both_bundles", "label", bundles)
    assert_points_of_two_ages(earlier, old[image], mine, new, predicted[0])


def assert_points_of_two_ages(earlier, old, mine, new, expected):
    kept = np.array(json.loads((earlier / "points.json").read_text()))[:, :3]
    np.testing.assert_allclose([item["world"] for item in old], kept, atol=2e-3)
    image = mine.images[0]
    assert_same({image: by_name(new[image])}, {image: by_name(expected[image])})


def test_bundles_of_two_ages_train_in_one_process(trained, earlier, server, tmp_path):
    roots = []
    for source in (earlier / "bundle", trained[0].root):
        roots.append(tmp_path / source.parent.name / source.name)
        shutil.copytree(source, roots[-1])
        shutil.rmtree(roots[-1] / "models")
    old = [str(roots[0]), {"dataset_dir": str(earlier / "data/images")}]
    new = [str(roots[1]), {"train#dataset#data": trained[0].items, "train#trainer#max_epochs": 1}]
    assert ask(server, tmp_path, "both_bundles", "train", [old, new, old]) == [str(roots[k]) for k in (0, 1, 0)]
    assert all((root / "models" / "model.pt").is_file() for root in roots)
