"""Names in the two Unicode forms, composed (NFC) and decomposed (NFD, as macOS writes files), belong together."""

import json
import unicodedata

import numpy as np
import pytest
from PIL import Image

from auto_config.datasets import read_dataset

NFC = "Jos\u00e9"
NFD = unicodedata.normalize("NFD", NFC)
POINTS = {"AC": [1.0, 2.0, 3.0], "PC": [4.0, -3.0, 1.0]}


def picture(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, size=(20, 20), dtype=np.uint8)).save(path)


@pytest.mark.parametrize(("stored", "named"), [(NFC, NFD), (NFD, NFC)])
@pytest.mark.parametrize("column", ["{}", "{}.png", "images/{}.png"])
@pytest.mark.parametrize("form", ["csv", "payer", "coco", "datalist"])
def test_files_that_name_images(form, column, stored, named, tmp_path):
    (tmp_path / "images").mkdir()
    picture(tmp_path / "images" / f"{stored}.png")
    name = column.format(named)
    if form == "csv":
        (tmp_path / "p.csv").write_text(f"image,landmark,x_px,y_px\n{name},AC,3,4\n", encoding="utf-8")
    elif form == "payer":
        (tmp_path / "p.csv").write_text(f"{named},3,4\n", encoding="utf-8")
    elif form == "coco":
        name = name if name.endswith(".png") else f"{name}.png"
        document = {
            "images": [{"id": 1, "file_name": name}],
            "categories": [{"id": 1, "name": "x", "keypoints": ["AC"]}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "keypoints": [3, 4, 2]}],
        }
        (tmp_path / "p.json").write_text(json.dumps(document))
    else:
        name = f"images/{named}.png"
        (tmp_path / "p.json").write_text(json.dumps({"training": [{"image": name, "label": {"AC": [3, 4]}}]}))
    dataset, problems = read_dataset(tmp_path)
    assert problems == []
    assert dataset.cases[0].image == (tmp_path / "images" / f"{stored}.png",)
    assert dataset.cases[0].landmarks.points.tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize("names", [(NFC, NFC, NFD), (NFC, NFD, NFC), (NFD, NFC, NFC)])
def test_channels_of_a_case(names, folder):
    label, first, second = names
    folder.image("x", name=f"{first}_0000.nii.gz")
    folder.image("x", name=f"{second}_0001.nii.gz")
    folder.label(label, POINTS)
    dataset, problems = read_dataset(folder.root)
    assert problems == [] and len(dataset.cases) == 1 and len(dataset.cases[0].image) == 2
