"""Which images `predict` takes, and what it calls their cases."""

import json

import pytest

from auto_config.errors import UserError
from auto_config.prediction.input import TEST, TRAINING, find_images, listed_images, training_cases


def test_an_image_or_a_folder(tmp_path):
    with pytest.raises(UserError, match="is not there"):
        find_images(tmp_path / "none")
    with pytest.raises(UserError, match="holds no image"):
        find_images(tmp_path)
    (tmp_path / "text.txt").write_text("")
    with pytest.raises(UserError, match="not an image that can be read"):
        find_images(tmp_path / "text.txt")
    (tmp_path / "images").mkdir()
    for name in ("b.nrrd", "a.nii.gz"):
        (tmp_path / "images" / name).write_text("")
    assert list(find_images(tmp_path)) == ["a", "b"]
    assert find_images(tmp_path / "images/b.nrrd") == {"b": (tmp_path / "images/b.nrrd",)}
    (tmp_path / "images/a.mha").write_text("")
    with pytest.raises(UserError, match="has the same name as"):
        find_images(tmp_path)


def test_the_test_images_of_a_data_list(tmp_path):
    path = tmp_path / "list.json"
    document = {
        "training": [{"image": "a.nii", "case": "one"}],
        "validation": [{"image": "b.nii"}],
        "test": [{"image": ["c_0.nii", "c_1.nii"], "case": "x/y"}, "d/e.nii.gz"],
    }
    path.write_text(json.dumps(document))
    assert find_images(path) == {
        "x_y": (tmp_path / "c_0.nii", tmp_path / "c_1.nii"),
        "e": (tmp_path / "d/e.nii.gz",),
    }
    assert listed_images(path, TRAINING) == {"one": (tmp_path / "a.nii",), "b": (tmp_path / "b.nii",)}
    path.write_text(json.dumps({**document, "dataset_dir": "/elsewhere"}))
    assert str(listed_images(path, TEST)["e"][0]) == "/elsewhere/d/e.nii.gz"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no data list"),
        ("[]", "is no data list"),
        ('{"test": {}}', "is no data list"),
        ('{"training": [{"image": "a.nii"}]}', "no image under 'test'"),
        ('{"test": [{"label": {}}]}', "has no 'image'"),
        ('{"test": ["a/x.nii", "b/x.nii"]}', "two images are called 'x'"),
    ],
)
def test_a_wrong_data_list_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "list.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        find_images(path)
    assert "\n" not in str(caught.value)


def test_a_bundle_without_a_data_list_tells_no_training_cases(tmp_path):
    assert training_cases(tmp_path, {"a": (tmp_path / "a.nii",)}) == []
