"""Training of a 2D bundle from labels of pictures, which lie where viewers show these. One real training."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from app_tools import write_fixed_bundle, write_volume
from bundle_tools import shrink
from landmark_app.lib.store.datastore import LocalLandmarkDatastore
from landmark_app.lib.store.known import Known
from landmark_app.lib.tasks.bundles import ServedBundle, read_card
from landmark_app.lib.tasks.infer import LandmarkEdit
from landmark_app.lib.training.train import LandmarkTrain
from landmark_app.lib.training.training_data import check_items, of_kind, own_labels
from picture_tools import NAMES, pixels, write_picture, write_picture_bundle
from PIL import Image

from auto_config.bundle_scripts.points.landmark_files import read_label, write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet
from auto_config.commands.create import create
from auto_config.errors import UserError

pytestmark = pytest.mark.usefixtures("warm_python")

MM, DPI = 0.5, 254
"""Pixel size that the bundle was given, and what the files say: pixels of 0.1 mm to a viewer."""
SIZE = (64, 48)


def store_of(folder, names):
    return LocalLandmarkDatastore(str(folder), bundles=lambda: {"face": names}, extensions=["*.jpg", "*.png"])


def shown(points, size) -> np.ndarray:
    """(N, 3) RAS mm of pixels (N, 2) in a viewer."""
    return np.column_stack([-np.asarray(points) * size, np.zeros(len(points))])


def submit(store, image, landmarks, folder):
    write_markups(folder / "sent.mrk.json", landmarks)
    store.save_label(image, str(folder / "sent.mrk.json"), "final", {})


def test_labels_of_pictures_are_trained_on_in_the_world_of_the_bundle(tmp_path):
    root = write_picture_bundle(tmp_path / "face", [MM, MM])
    studies = tmp_path / "studies"
    write_picture(studies / "a.jpg", dpi=(DPI, DPI))
    write_picture(studies / "b.png")
    store = store_of(studies, NAMES)
    status = np.array([PRESENT, PRESENT, ABSENT])
    for image, size in (("a", 0.1), ("b", 1.0)):
        submit(store, image, LandmarkSet(NAMES, shown(pixels(), size), status), tmp_path)
    card = read_card(root)
    assert (card.spatial_dims, card.pixel_spacing) == (2, (MM, MM))
    items = own_labels(store.datalist(), card, (), tmp_path / "copies")
    for item in items:
        label = read_label(item["label"], NAMES, spatial_dims=2)
        np.testing.assert_allclose(label.points[:2], pixels()[:2] * MM, atol=1e-6)
        assert label.status.tolist() == status.tolist()
    check_items(items, card)
    given = store.datalist()
    Path(given[1]["image"]).unlink()
    with pytest.raises(UserError, match=r"b\.png"):
        own_labels(given, card, (), tmp_path / "copies")


def test_a_folder_may_hold_pictures_and_volumes_of_one_landmark(tmp_path):
    picture = {"image": str(write_picture(tmp_path / "a.png")), "label": "a.mrk.json"}
    volume = {"image": str(write_volume(tmp_path / "b.nii.gz", np.eye(4))), "label": "b.mrk.json"}
    flat = read_card(write_picture_bundle(tmp_path / "face"))
    solid = read_card(write_fixed_bundle(tmp_path / "head"))
    assert of_kind([picture, volume], flat) == [picture]
    assert of_kind([picture, volume], solid) == [volume]
    with pytest.raises(UserError, match="all labelled images are volumes, and this bundle was made for 2D"):
        of_kind([volume], flat)
    with pytest.raises(UserError, match="all labelled images are pictures, and this bundle was made for 3D"):
        of_kind([picture], solid)


def test_the_least_distance_is_the_bundles_in_every_viewer(tmp_path):
    """5 mm are 10 pixels to this bundle, and 1 mm in a viewer that takes the JPEG's word for it."""
    root = write_picture_bundle(tmp_path / "face", [MM, MM])
    path = root / "configs/landmarks.json"
    table = json.loads(path.read_text())
    table["landmarks"][2] |= {"instances": "many", "most_instances": 4, "min_distance_mm": 5.0}
    path.write_text(json.dumps(table))
    (root / "models/model.pt").unlink()
    picture = write_picture(tmp_path / "a.jpg", dpi=(DPI, DPI))
    task = LandmarkEdit(ServedBundle(root), lambda _image, _names: Known(), "cpu")
    others = {"sella": [[1, 1, 0]], "nasion": [[2, 2, 0]]}

    def instances(*clicks):
        _, params = task({"image": str(picture), "image_id": None, "menton": [list(one) for one in clicks], **others})
        return [item["voxel"] for item in params["landmarks"] if item["name"] == "menton"]

    assert instances([10, 10, 0], [19, 10, 0]) == [[pytest.approx(19), pytest.approx(10), 0]]
    assert len(instances([10, 10, 0], [21, 10, 0])) == 2
    label = LandmarkSet.from_rows(["menton"] * 2, shown([[10, 10], [21, 10]], 0.1), [1, 1], {"menton"})
    write_markups(tmp_path / "a.mrk.json", label)
    given = [{"image": str(picture), "label": str(tmp_path / "a.mrk.json")}]
    [item] = own_labels(given, read_card(root), {"menton"}, tmp_path / "copies")
    own = read_label(item["label"], NAMES, spatial_dims=2, many={"menton"})
    np.testing.assert_allclose(own.instances["menton"], [[5, 5], [10.5, 5]], atol=1e-6)


@pytest.mark.slow
def test_a_training_on_pictures_ends_with_weights_and_a_calibration(tmp_path):
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]), indexing="ij"), -1)

    def draw(path, **options):
        """A picture with a bright and a wide blob; their pixels."""
        points = np.array([[20.0, 16.0], [44.0, 30.0]]) + rng.uniform(-3, 3, (2, 2))
        blobs = sum(
            height * np.exp(-0.5 * ((grid - point) ** 2).sum(-1) / width)
            for point, height, width in zip(points, (150, 90), (4, 30), strict=True)
        )
        Image.fromarray((blobs + rng.uniform(0, 20, SIZE)).T.astype(np.uint8)).save(path, **options)
        return points

    source = tmp_path / "source"
    source.mkdir()
    rows = [["image", "landmark", "x", "y"]]
    for number in range(4):
        found = draw(source / f"c{number}.png")
        rows += [[f"c{number}.png", name, *point] for name, point in zip("ab", found.round(3), strict=True)]
    with (source / "points.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    root = tmp_path / "face"
    given = {"pixel_spacing": [MM], "network": "tiny", "stages": 1, "patch_size": [16, 16], "workers": 1}
    assert create(source, root, **given) == 0
    bundle = ServedBundle(shrink(root))
    studies = tmp_path / "studies"
    studies.mkdir()
    drawn = [draw(studies / f"case{number}.jpg", dpi=(DPI, DPI), quality=95) for number in range(6)]
    store = store_of(studies, bundle.card.names)
    for number, points in enumerate(drawn):
        submit(store, f"case{number}", LandmarkSet(("a", "b"), shown(points, 0.1), np.full(2, PRESENT)), tmp_path)
    done = LandmarkTrain(bundle, "cpu")({"max_epochs": 2, "val_split": 0.5}, store)
    assert (done["state"], done["replaced"], done["calibration"]["cases"]) == ("done", True, 3)
    # The validation is in the bundle's mm: a picture is 32 mm wide, so labels in another unit would be far off.
    assert done["best_mre_mm"] < 32
    found = bundle.predict(studies / "case0.jpg").landmarks
    assert [item["name"] for item in found] == ["a", "b"]
    for item in found:
        assert 0 <= item["voxel"][0] < SIZE[0]
        np.testing.assert_allclose(item["world"], [-0.1 * item["voxel"][0], -0.1 * item["voxel"][1], 0], atol=1e-6)
