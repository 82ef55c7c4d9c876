"""A bundle gives the same points in MONAI Label's own bundle task, in `predict` and in the app."""

import csv

import numpy as np
import pytest
from app_tools import NAMES, oblique_affine, true_world, write_fixed_bundle, write_volume
from landmark_app.lib.tasks.bundles import ServedBundle
from landmark_app.lib.tasks.infer import LandmarkInfer
from monailabel.tasks.infer.bundle import BundleInferTask

from auto_config.commands.predict import predict

SHAPE = (34, 30, 26)
SPACING = (1.1, 0.9, 2.7)
TOLERANCE_MM = 0.01 * min(SPACING)


@pytest.mark.parametrize("orientation", ["pir", "las"])
def test_the_same_points_everywhere(tmp_path, orientation):
    bundle = write_fixed_bundle(tmp_path / "head")
    affine = oblique_affine(orientation, SPACING)
    image = write_volume(tmp_path / "images" / "case.nii.gz", affine, SHAPE)

    assert predict(bundle, image, tmp_path / "predictions", device="cpu") == 0
    with (tmp_path / "predictions" / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        rows = {row["landmark"]: [float(row[f"{axis}_ras_mm"]) for axis in "xyz"] for row in csv.DictReader(stream)}
    predicted = np.array([rows[name] for name in NAMES])

    request = {"image": str(image), "device": "cpu", "result_extension": ".nrrd"}
    _, stock = BundleInferTask(str(bundle), {})(request)
    _, own = LandmarkInfer(ServedBundle(bundle))(request)

    truth = true_world(affine, SHAPE)
    for landmarks in (stock["landmarks"], own["landmarks"]):
        assert tuple(item["name"] for item in landmarks) == NAMES
        points = np.array([item["world"] for item in landmarks])
        np.testing.assert_allclose(points, predicted, atol=TOLERANCE_MM)
        np.testing.assert_allclose(points, truth, atol=TOLERANCE_MM)
    # The stock task numbers and names the balls by the metadata, in lower case; ours keeps the names.
    assert list(stock["label_names"].values()) == list(own["label_names"].values()) == [1, 2, 3, 4]
