"""A landmark with many instances and an exchangeable pair, the whole way: data, bundle, training, prediction, files.

What is learned is the matter of ``tests/bundle_scripts/training/test_instance_training.py``; here the network is barely
trained.

Each image has three to five equal small blobs (``bud``) and two equal large ones (``end 1``, ``end 2``), whose names
were given in random order, as by annotators who see no difference.
"""

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bundle_tools import config, edit, failures_of_zoo_test, shrink

from auto_config.bundle_scripts.points.landmark_files import read_markups
from auto_config.bundle_scripts.points.matching import best_order
from auto_config.bundle_scripts.points.nms import FLOOR
from auto_config.commands.calibrate import calibrate
from auto_config.commands.create import create
from auto_config.commands.evaluate import evaluate
from auto_config.commands.package import package
from auto_config.commands.predict import predict
from auto_config.commands.train import train
from auto_config.errors import UserError
from auto_config.packaging.contents import shared_content

pytestmark = pytest.mark.usefixtures("warm_python")

SPACING, SHAPE, CASES = 2.0, (28, 28, 28), 6
NAMES = ("bud", "end 1", "end 2")


def places(rng: np.random.Generator, count: int) -> np.ndarray:
    """Points (count, 3) in mm, at least 13 mm from each other and 9 from the border."""
    while True:
        points = rng.uniform(9, (SHAPE[0] - 1) * SPACING - 9, (count, 3))
        apart = np.linalg.norm(points[:, None] - points[None], axis=-1) + 99 * np.eye(count)
        if apart.min() > 13:
            return points


def write_buds(folder: Path) -> Path:
    """A datalist that declares its landmarks."""
    rng = np.random.default_rng(3)
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1) * SPACING
    items = []
    for number in range(CASES):
        points = places(rng, 2 + int(rng.integers(3, 6)))
        image = rng.normal(0, 4, SHAPE)
        for place, point in enumerate(points):
            width, height = (4.5, 100) if place < 2 else (2.2, 220)
            image += height * np.exp(-((voxels - point) ** 2).sum(-1) / (2 * width**2))
        nib.save(nib.Nifti1Image(image.astype(np.float32), np.diag([SPACING] * 3 + [1])), folder / f"c{number}.nii.gz")
        ends = rng.permutation(points[:2]).tolist()
        label = {"bud": points[2:].tolist(), "end 1": ends[0], "end 2": ends[1]}
        items.append({"case": f"c{number}", "image": f"c{number}.nii.gz", "label": label})
    rows = [{"name": "bud", "instances": "many"}, {"name": "end 1", "exchangeable": "end 2"}, {"name": "end 2"}]
    source = folder / "list.json"
    content = {"training": items[:-2], "test": items[-2:], "properties": {"landmarks": rows}}
    source.write_text(json.dumps(content), encoding="utf-8")
    return source


@pytest.fixture(scope="module")
def trained(server, tmp_path_factory):
    """Datalist, trained bundle, folder of predictions of the test cases."""
    folder = tmp_path_factory.mktemp("buds")
    source, bundle = write_buds(folder), folder / "buds"
    assert create(source, bundle, network="tiny", patch_size=[16, 16, 16], workers=1, few_labels=False) == 0
    server.monai(shrink(bundle), "run", "training", "--config_file", "configs/train.json")
    assert predict(bundle, bundle / "data" / "datalist.json", folder / "out", device="cpu") == 0
    return source, bundle, folder / "out"


def test_what_the_bundle_says(trained):
    _, bundle, _ = trained
    items = {item["name"]: item for item in config(bundle, "landmarks")["landmarks"]}
    assert items["bud"]["instances"] == "many"
    assert items["bud"]["most_instances"] in (6, 8, 10)
    assert items["end 1"]["exchangeable"] == "end 2"
    assert items["end 2"]["exchangeable"] == "end 1"
    plan = config(bundle, "plan")["decisions"]
    assert [stage["name"] for stage in plan["stages"]["value"]] == ["fine"]
    assert "many instances" in plan["stages"]["reason"]
    for folder in (bundle / "models", bundle / "models" / "fold_0"):
        assert 0 < json.loads((folder / "instances.json").read_text())["thresholds"]["bud"] <= 1


def test_no_shape_says_where_one_of_many_lies(trained, tmp_path):
    _, bundle, _ = trained
    with pytest.raises(UserError, match=r"inference.json: has no 'shape_prior', so it cannot be set; omit it"):
        predict(bundle, bundle / "data" / "datalist.json", tmp_path / "out", device="cpu", shape_prior=True)


def test_other_cases_calibrate_instances_and_ends(trained, tmp_path):
    """With other names of the ends, one of them absent, and an image without buds."""
    source, bundle, _ = trained
    shutil.copytree(bundle, tmp_path / "buds")
    document = json.loads(source.read_text())
    items = document.pop("test")
    for item in items:
        item["image"] = str(source.parent / item["image"])
        label = item["label"]
        label["end 1"], label["end 2"] = label["end 2"], label["end 1"]
    items[0]["label"] |= {"end 1": "absent", "bud": []}
    data = tmp_path / "ours.json"
    data.write_text(json.dumps({**document, "training": items}))
    assert calibrate(tmp_path / "buds", data=data, pooled=True, device="cpu") == 0
    found = json.loads((tmp_path / "buds" / "models" / "calibration.json").read_text())
    assert (found["source"], found["cases"], found["folds"]) == ("other cases", 2, [])
    detection = found["presence"]["detection"]["bud"]
    assert detection["found"] + detection["missed"] == len(items[1]["label"]["bud"])
    assert found["regions"]["count"][1] + found["regions"]["count"][2] == 3
    assert any("absent examples are cuts" in note for note in found["notes"])
    assert not any("no case has" in note for note in found["notes"])


def test_evaluation_reads_the_bundles_own_data_list(trained):
    _, bundle, out = trained
    assert evaluate(out, bundle / "data" / "datalist.json", split="test") == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics["instances"]["per_landmark"]) == {"bud"}
    assert set(metrics["per_landmark"]) == {"end 1", "end 2"}
    assert metrics["mre_mm"]["n"] == 4


def test_files_repeat_the_name(trained):
    source, _, out = trained
    item = json.loads(source.read_text())["test"][0]
    found = read_markups(out / f"{item['case']}.mrk.json", many=("bud",))
    assert found.names == NAMES
    ends = found.points[1:]
    assert np.linalg.norm(ends[0] - ends[1]) > SPACING
    with (out / "predictions.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["case"] == item["case"] and row["landmark"] == "bud"]
    present = [row for row in rows if row["present"] == "1"]
    assert len(present) == len(found.instances["bud"])
    assert len(rows) == max(1, len(present))
    run = json.loads((out / "run.json").read_text())
    assert (run["many"], run["exchangeable"]) == (["bud"], [["end 1", "end 2"]])


def certain(document):
    """A calibration as after a good training: the barely trained network finds next to nothing."""
    names = document["landmarks"]
    document["presence"] = {
        "features": ["peak"],
        "mean": [0.0],
        "scale": [1.0],
        "weights": [1.0],
        "intercept": 0.0,
        "offsets": [0.0] * len(names),
        "thresholds": [0.0, 0.0, 0.0],
    }
    for kind, bound in (("ball_mm", 200.0), ("ellipsoid", 200.0), ("levelset", 1e-30)):
        document["regions"][kind] = [[None if (kind, i) == ("levelset", 0) else bound for i in range(3)]] * 4
    assert document.pop("useless").startswith("the model is no better than always predicting the mean shape")


def test_the_whole_way_of_a_calibration(trained, tmp_path, capsys):
    _, bundle, plain = trained
    shutil.copytree(bundle, tmp_path / "buds")
    bundle, out = tmp_path / "buds", tmp_path / "out"
    assert calibrate(bundle, device="cpu") == 0
    path = bundle / "models" / "calibration.json"
    document = json.loads(path.read_text())
    limit = config(bundle, "landmarks")["landmarks"][0]["match_mm"]
    assert document["match_mm"] == {"bud": limit}
    assert [row[0] for row in document["regions"]["levelset"]] == [None] * 4
    assert {*document["shape"]["cases"]} == {0}  # of none does the name say where it lies
    assert any("end 1 and end 2 may change places" in note for note in document["notes"])
    kept = json.loads((bundle / "models" / "fold_0" / "out_of_fold.json").read_text())["cases"]
    rows = config(bundle, "landmarks")["landmarks"][0]["most_instances"] + 2
    assert {len(row["status"]) for row in kept.values()} == {rows}
    # Kept predictions are those of these labels, in whatever order the ends are named.
    edit(bundle / "data" / "datalist.json", exchange_ends)
    monkey = pytest.MonkeyPatch()
    monkey.setattr(
        "auto_config.calibration.validation_cases.predict_fold", lambda *_, **__: pytest.fail("predicted again")
    )
    assert calibrate(bundle, device="cpu") == 0
    monkey.undo()
    again = [json.loads(path.read_text())["regions"]["ball_mm"][0], document["regions"]["ball_mm"][0]]
    np.testing.assert_allclose(*np.array(again, dtype=float), rtol=1e-5)  # kept with eight digits

    edit(path, certain)
    images = bundle / "data" / "datalist.json"
    capsys.readouterr()
    assert predict(bundle, images, out, device="cpu", regions=True, json=True, level=0.5) == 0
    assert "bud: no region is drawn, because one heatmap shows all instances" in capsys.readouterr().err
    with (out / "predictions.csv").open(newline="") as stream, (plain / "predictions.csv").open(newline="") as before:
        found, earlier = list(csv.DictReader(stream)), list(csv.DictReader(before))
    assert {row["radius_mm"] for row in found} == {"200.0"} and {row["radius_mm"] for row in earlier} == {""}
    for case in {row["case"] for row in found}:
        result = json.loads((out / f"{case}.json").read_text())
        buds = [item for item in result["landmarks"] if item["name"] == "bud"]
        assert result["level"] == 0.5 and len(result["landmarks"]) == len(buds) + 2
        assert [item["instance"] for item in buds] == list(range(1, len(buds) + 1))
        assert all(item["confidence"] >= FLOOR or not item["present"] for item in buds)
        assert {item["implausible"] for item in result["landmarks"]} == {None}
        labels = nib.load(out / f"{case}.regions.nii.gz")
        values = np.asarray(labels.dataobj)
        assert {*np.unique(values)} <= {0, 2, 3} and {2, 3} <= {*np.unique(values)}
        ends = np.array([item["world"] for item in result["landmarks"][-2:]])
        for value in (2, 3):
            # The region of an end is nearer to it than to the other.
            places = nib.affines.apply_affine(labels.affine, np.argwhere(values == value))
            distance = np.linalg.norm(places[:, None] - ends, axis=-1)
            assert (distance.argmin(axis=1) == value - 2).all()
    assert evaluate(out, images, split="test") == 0
    regions = json.loads((out / "metrics.json").read_text())["regions"]
    assert regions["ball"]["0.5"]["count"] >= 4 and regions["ball"]["0.5"]["share"] == 1.0
    assert regions["ball"]["0.5"]["count"] == regions["ellipsoid"]["0.5"]["count"]


def test_a_training_ends_with_a_calibration(trained, monkeypatch):
    from auto_config.running import child

    lines = []
    monkeypatch.setattr(child, "follow", lambda line, **_: lines.append(line) or child.Ended(0))
    monkeypatch.setattr(child, "run", lambda line, **_: lines.append(line) or 0)
    assert train(trained[1], max_epochs=1, overwrite=True) == 0
    assert [line[2:4] for line in lines] == [["monai.bundle", "run"], ["auto_config", "calibrate"]]


def test_a_pair_in_crops_of_their_own(server, tmp_path):
    """Two stages look at each end in a crop of its own, which may show the other one too."""
    source = write_buds(tmp_path)

    def ends_alone(document):
        for item in [*document["training"], *document["test"]]:
            del item["label"]["bud"]
        document["training"][0]["label"]["end 1"] = "absent"
        del document["properties"]["landmarks"][0]

    edit(source, ends_alone)
    bundle, out = tmp_path / "ends", tmp_path / "out"
    assert create(source, bundle, network="tiny", stages=2, patch_size=[16, 16, 16], workers=1, few_labels=False) == 0
    server.monai(shrink(bundle), "run", "training", "--config_file", "configs/train.json")
    assert calibrate(bundle, device="cpu") == 0
    (case,) = json.loads((bundle / "models" / "fold_0" / "out_of_fold.json").read_text())["cases"].values()
    points, truth = np.array(case["points"], dtype=float), np.array(case["truth"], dtype=float)
    assert not best_order(points, truth)  # the truth of each end is that of the nearer one

    def finite(document):
        document["regions"]["levelset"] = [[1e-9, 1e-9]] * 4

    edit(bundle / "models" / "calibration.json", finite)
    images = bundle / "data" / "datalist.json"
    assert predict(bundle, images, out, device="cpu", regions=True, all_present=True, level=0.5) == 0
    assert evaluate(out, images, split="test") == 0
    regions = json.loads((out / "metrics.json").read_text())["regions"]
    assert regions["ball"]["0.5"]["count"] == regions["level set"]["0.5"]["count"] == 4


def exchange_ends(datalist):
    """As another annotator would have named them."""
    for item in datalist["training"]:
        label = item["label"]
        label["end 1"], label["end 2"] = label["end 2"], label["end 1"]


def test_a_package_has_the_thresholds_and_the_test_of_the_zoo_has_landmarks_with_many_instances(trained, tmp_path):
    _, bundle, out = trained
    assert package(bundle, tmp_path / "buds.zip") == 0
    shutil.unpack_archive(tmp_path / "buds.zip", tmp_path)
    assert predict(tmp_path / "buds", bundle / "data" / "datalist.json", tmp_path / "out", device="cpu") == 0
    assert (tmp_path / "out" / "predictions.csv").read_text() == (out / "predictions.csv").read_text()
    assert failures_of_zoo_test(tmp_path / "test_buds.py", tmp_path / "buds") == set()
    ensemble = Path(shutil.copytree(bundle, tmp_path / "ensemble"))
    (ensemble / "models" / "ensemble.json").write_text('{"files": ["fold_0/model.pt"]}')
    assert "models/fold_0/instances.json" in shared_content(ensemble)
