"""A real training from labels with any number of a landmark, to the calibration of its weights. Takes a minute."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bundle_tools import shrink
from landmark_app.lib.store.datastore import LocalLandmarkDatastore
from landmark_app.lib.tasks.bundles import ServedBundle
from landmark_app.lib.training.seen_cases import NOTHING, seen_by_weights_in_use
from landmark_app.lib.training.train import LandmarkTrain

from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.commands.create import create

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_python")]
SPACING, SHAPE = 2.0, (28, 28, 28)
NAMES = ("core", "bud")


def places(rng, count):
    """Points (count, 3) in mm, at least 13 mm from each other and 9 from the border."""
    while True:
        points = rng.uniform(9, (SHAPE[0] - 1) * SPACING - 9, (count, 3))
        if (np.linalg.norm(points[:, None] - points[None], axis=-1) + 99 * np.eye(count)).min() > 13:
            return points


def write_image(path: Path, rng) -> LandmarkSet:
    """An image with a large blob and three to five small ones, and where they are."""
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1) * SPACING
    points = places(rng, 1 + int(rng.integers(3, 6)))
    image = rng.normal(0, 4, SHAPE)
    for place, point in enumerate(points):
        width, height = (4.5, 100) if place == 0 else (2.2, 220)
        image += height * np.exp(-((voxels - point) ** 2).sum(-1) / (2 * width**2))
    nib.save(nib.Nifti1Image(image.astype(np.float32), np.diag([SPACING] * 3 + [1])), path)
    names = ["core", *["bud"] * (len(points) - 1)]
    return LandmarkSet.from_rows(names, points, [1] * len(points), {"bud"})


@pytest.fixture
def bundle(tmp_path):
    rng = np.random.default_rng(0)
    source = tmp_path / "source"
    source.mkdir()
    items = [
        {"case": f"c{k}", "image": f"c{k}.nii.gz", "label": write_image(source / f"c{k}.nii.gz", rng).to_inline()}
        for k in range(4)
    ]
    rows = [{"name": "core"}, {"name": "bud", "instances": "many"}]
    (source / "list.json").write_text(json.dumps({"training": items, "properties": {"landmarks": rows}}))
    assert (
        create(
            source / "list.json",
            tmp_path / "buds",
            network="tiny",
            patch_size=[16, 16, 16],
            workers=1,
            few_labels=False,
        )
        == 0
    )
    return ServedBundle(shrink(tmp_path / "buds"))


def test_labels_with_several_instances_train_and_calibrate(bundle, tmp_path):
    studies = tmp_path / "studies"
    studies.mkdir()
    rng = np.random.default_rng(1)
    labels = {f"case{k}": write_image(studies / f"case{k}.nii.gz", rng) for k in range(6)}
    many = bundle.card.many
    assert set(many) == {"bud"}
    store = LocalLandmarkDatastore(
        str(studies), bundles=lambda: {"buds": bundle.card.names}, many=lambda _image: many, extensions=["*.nii.gz"]
    )
    for image, label in labels.items():
        write_markups(tmp_path / "sent.mrk.json", label)
        store.save_label(image, str(tmp_path / "sent.mrk.json"), "final", {})
    done = LandmarkTrain(bundle, "cpu")({"max_epochs": 2, "val_split": 0.5}, store)
    assert (done["state"], done["replaced"], done["judge"]) == ("done", True, "labels")
    assert (done["training_cases"], done["validation_cases"]) == (3, 3)
    assert (done["calibration"]["cases"], done["calibration"]["pooled"]) == (3, True)
    models = bundle.root / "models"
    assert json.loads((models / "calibration.json").read_text())["cases"] == 3
    assert set(json.loads((models / "instances.json").read_text())["thresholds"]) == {"bud"}
    seen = seen_by_weights_in_use(bundle.root)
    assert seen.own == NOTHING  # there were no weights to go on from
    assert len(seen.images) == 3
    found = bundle.predict(studies / "case0.nii.gz").landmarks
    assert {item["name"] for item in found} == set(NAMES)
