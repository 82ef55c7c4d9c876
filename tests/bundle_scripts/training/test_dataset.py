"""From the data list to samples: splits, labels, and each sample a pure function of seed and index."""

import json

import numpy as np
import pytest
import torch
from analytic_blobs import parse, plan_of
from monai.data import Dataset
from torch.utils.data import DataLoader

from auto_config.bundle.configs import inference_config, train_config
from auto_config.bundle.landmark_table import landmark_table
from auto_config.bundle_scripts.inference.results import LandmarkResultd
from auto_config.bundle_scripts.points.instances import read_instances
from auto_config.bundle_scripts.points.landmark_names import read_flip_pairs, read_landmark_names
from auto_config.bundle_scripts.points.landmarks import UNKNOWN, LandmarkFileError, LandmarkSet
from auto_config.bundle_scripts.training.dataset import LoadLandmarksd, SampledDataset, SampleLoader, read_cases
from auto_config.bundle_scripts.training.sampler import GlobalIndexSampler
from auto_config.bundle_scripts.training.shape_fit import training_shapes

CASES = [{"image": f"{name}.nii.gz", "label": {"tip": [float(i), 0.0, 0.0]}} for i, name in enumerate("abcde")]


class Draw:
    """A transform that draws from what the data set gives it."""

    def __call__(self, data):
        random = np.random.default_rng([data["seed"], data["index"]])
        return {"image": data["image"], "index": data["index"], "draw": torch.from_numpy(random.normal(size=3))}


def test_a_sample_is_the_same_directly_with_workers_and_in_any_order():
    data = SampledDataset(CASES, Draw(), seed=7)
    sampler = GlobalIndexSampler(8)
    sampler.set_epoch(1)
    direct = {i: data[i] for i in reversed(range(8, 16))}
    for workers in (0, 2):
        loader = DataLoader(data, batch_size=2, sampler=sampler, num_workers=workers)
        seen = [
            row for batch in loader for row in zip(batch["index"].tolist(), batch["image"], batch["draw"], strict=True)
        ]
        assert [index for index, _, _ in seen] == list(range(8, 16))
        for index, image, draw in seen:
            assert image == direct[index]["image"]
            assert torch.equal(draw, direct[index]["draw"])
    other = SampledDataset(CASES, Draw(), seed=8)
    assert any(not torch.equal(other[i]["draw"], direct[i]["draw"]) for i in direct)


def test_every_pass_sees_every_case():
    data = SampledDataset(CASES, Draw(), seed=1)
    for start in (0, 5, 10):
        assert sorted(data[start + i]["image"] for i in range(5)) == sorted(case["image"] for case in CASES)


def write_list(folder, training, test=()):
    path = folder / "datalist.json"
    path.write_text(json.dumps({"training": list(training), "test": list(test)}))
    return str(path)


def test_splits(tmp_path):
    training = [{"image": f"{i}.nii", "label": {}, "fold": i % 3} for i in range(6)]
    path = write_list(tmp_path, training, [{"image": ["x_0.nii", "x_1.nii"], "label": {}}])
    names = {
        (split, fold): [case["image"] for case in read_cases(path, "/data", split, fold)]
        for split in ("training", "validation")
        for fold in (0, 1, 2, "none", None)
    }
    for fold in range(3):
        assert names["validation", fold] == [f"/data/{i}.nii" for i in (fold, fold + 3)]
        assert sorted(names["training", fold] + names["validation", fold]) == [f"/data/{i}.nii" for i in range(6)]
    for everything in ("none", None):
        assert len(names["training", everything]) == 6
        assert names["validation", everything] == []
    assert read_cases(path, "/data", "test")[0]["image"] == ["/data/x_0.nii", "/data/x_1.nii"]


def test_a_case_keeps_the_name_that_the_data_list_gives_it(tmp_path):
    images = [f"sub-0{i}/image.nii" for i in range(4)]
    names = [{"case": "one"}, {"case": "two/image"}, {}, {"case": None}]
    items = [{"image": image, "label": {}, **name} for image, name in zip(images, names, strict=True)]
    items[3]["image"] = ["x_0.nii", "x_1.nii"]
    path = write_list(tmp_path, items)
    found = read_cases(path, "/data", "training", "none")
    assert [case["case"] for case in found] == ["one", "two_image", "image", "x_0"]


def test_what_does_not_exist_is_said_in_one_line(tmp_path):
    path = write_list(tmp_path, [{"image": "a.nii", "label": {}, "fold": 0}])
    with pytest.raises(ValueError, match=r"fold is 4; .* has the folds \[0\]"):
        read_cases(path, ".", "training", 4)
    with pytest.raises(ValueError, match="split is 'train'; allowed are"):
        read_cases(path, ".", "train")
    with pytest.raises(ValueError, match="travelled without its data list"):
        read_cases(str(tmp_path / "gone.json"), ".", "training")


def test_labels_are_read_in_the_order_of_the_channels_and_again_each_time(tmp_path):
    load = LoadLandmarksd("label", ["b", "a", "c"])
    out = load({"label": {"a": [1, 2, 3], "b": "absent"}})
    assert out["status"].tolist() == [0, 1, -1]
    np.testing.assert_array_equal(out["label"][1], [1, 2, 3])
    assert np.isnan(out["label"][[0, 2]]).all()
    for missing in ({}, {"label": None}):
        out = load(missing)
        assert out["label"].shape == (3, 3)
        assert (out["status"] == -1).all()
    path = tmp_path / "a.json"
    for x in (4.0, 5.0):
        path.write_text(json.dumps({"a": [x, 0, 0]}))
        assert load({"label": str(path)})["label"][1, 0] == x


def test_shapes_for_the_shape_model():
    data = [{"label": {"a": [1, 2, 3], "b": "absent"}}, {"image": "no label"}, {"label": {"b": [4, 5, 6]}}]
    shapes = training_shapes(data, ["a", "b"])
    nan = [np.nan] * 3
    np.testing.assert_array_equal(shapes, [[[1, 2, 3], nan], [nan, [4, 5, 6]]])
    assert training_shapes([], ["a", "b"]).shape == (0, 2, 3)
    assert training_shapes([], ["a", "b"], 2).shape == (0, 2, 2)


def test_the_loader_gives_the_samples_of_each_epoch_by_their_numbers():
    loader = SampleLoader(Dataset(CASES, Draw()), seed=7, iterations=4, batch_size=2, num_workers=0)
    alone = SampledDataset(CASES, Draw(), seed=7)
    assert len(loader) == 4
    for epoch in (1, 2):
        loader.sampler.set_epoch(epoch)  # as MONAI's engines do
        draws = torch.cat([batch["draw"] for batch in loader])
        assert torch.equal(draws, torch.stack([alone[8 * epoch + i]["draw"] for i in range(8)]))


HOSTILE = [
    "a",
    "A",
    "Ärmel-Ä",
    "鼻尖",
    "x$y@z%",
    "#id",
    "a::b",
    "__local_refs",
    "_target_",
    'quote"d',
    "back\\slash",
    "{b}",
]


@pytest.mark.parametrize("name", ["$x", "@y", "%z", "$import os", "", " a", "a\n"])
def test_names_that_monai_would_run_are_refused(name):
    with pytest.raises(LandmarkFileError, match=r"rename|give the landmark a name"):
        LandmarkSet.from_inline({name: [1, 2, 3]})


@pytest.mark.parametrize("names", [HOSTILE, [f"landmark {i:03d} °" for i in range(200)]], ids=["odd", "two hundred"])
def test_odd_names_and_many_names_pass_through_unharmed(tmp_path, names):
    """landmarks.json, label, training pipeline, result: names are data, and never stand in an expression."""
    points = {name: [float(i), 1.0, 2.0] for i, name in enumerate(names)}
    table = landmark_table(names, [[0, 1]], [], 3)
    assert len({item["slug"] for item in table["landmarks"]}) == len(names)
    assert all(item["slug"].isascii() for item in table["landmarks"])
    path = tmp_path / "table.json"
    path.write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")
    assert read_landmark_names(str(path)) == tuple(names)
    assert read_flip_pairs(str(path)) == (1, 0, *range(2, len(names)))

    inline = json.loads(json.dumps(LandmarkSet.from_inline(points).to_inline()))
    datalist = write_list(tmp_path, [{"image": "a.nii", "label": inline, "fold": 0}])
    plan = plan_of(landmarks=len(names), patch_size=(16, 16, 16))
    for config in (train_config(plan, len(names), ".", 0), inference_config(plan, len(names))):
        assert not any(name in json.dumps(config) for name in names if len(name) > 3 and name not in ("_target_",))
    parser = parse(train_config(plan, len(names), ".", 0), tmp_path, names, datalist=datalist, fold="none")
    parser["landmarks"] = str(path)
    data = parser.get_parsed_content("train#dataset#data")
    assert data[0]["label"] == points
    load = parser.get_parsed_content("train#preprocessing").transforms[1]
    out = load(data[0])
    assert (out["status"] == 1).all()
    np.testing.assert_array_equal(out["label"][:, 0], np.arange(len(names)))
    assert LandmarkResultd("pred", landmarks=str(path)).names == tuple(names)


def test_a_predicted_label_is_known_as_often_as_it_is_sure():
    load = LoadLandmarksd("label", ["A", "B", "C"])
    item = {
        "label": {"A": [1.0, 2, 3], "B": [4.0, 5, 6], "C": "absent"},
        "confidence": {"A": 0.75, "B": 0.0},
        "seed": 3,
    }
    made = [load({**item, "index": index}) for index in range(2000)]
    known = np.array([one["status"] != UNKNOWN for one in made])
    assert known[:, 0].mean() == pytest.approx(0.75, abs=0.03)
    assert not known[:, 1].any() and known[:, 2].all()  # an absence has no confidence of its own
    for index, one in enumerate(made[:20]):
        assert np.isnan(one["label"][one["status"] == UNKNOWN]).all()
        np.testing.assert_array_equal(load({**item, "index": index})["status"], one["status"])
    # Outside of training nothing is drawn.
    assert (load(item)["status"] != UNKNOWN).all()


def test_ends_that_change_places_are_doubted_too(tmp_path):
    table = landmark_table(
        ["A", "left", "right"], [], [], 3, {"many": [], "exchangeable": [{"landmarks": [1, 2], "min_distance_mm": 1.0}]}
    )
    (tmp_path / "landmarks.json").write_text(json.dumps(table))
    load = LoadLandmarksd("label", ["A", "left", "right"], instances=read_instances(tmp_path / "landmarks.json"))
    label = {"A": [1.0, 2, 3], "left": [4.0, 5, 6], "right": [7.0, 8, 9]}
    item = {"label": label, "confidence": {"left": 0.0}, "seed": 3, "index": 0}
    assert (load(item)["status"] == UNKNOWN).tolist() == [False, True, False]


def test_predicted_and_repeated_cases_have_no_part_in_the_shape():
    own = {"case": "a", "label": {"tip": [1.0, 0, 0]}}
    data = [own, dict(own), {"case": "b", "label": {"tip": [3.0, 0, 0]}}]
    data.append({"case": "c", "label": {"tip": [9.0, 0, 0]}, "confidence": {"tip": 0.9}})
    assert training_shapes(data, ["tip"])[:, 0, 0].tolist() == [1.0, 3.0]


def test_a_data_list_of_predictions_keeps_how_sure_they_are(tmp_path):
    items = [{"case": "a", "image": "/x/a.nii", "label": {"tip": [1, 2, 3]}, "confidence": {"tip": 0.5}}]
    (tmp_path / "list.json").write_text(json.dumps({"training": items * 2}))
    found = read_cases(str(tmp_path / "list.json"), "/somewhere", "training", "none")
    assert found == items * 2
