"""Which files of a folder are images, and the names of their cases."""

import pytest

from auto_config.bundle_scripts.images.files import case_name, images_by_case
from auto_config.bundle_scripts.training.dataset import find_images
from auto_config.datasets import read_dataset


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/b/sub-01_T1w.nii.gz", "sub-01_T1w"),
        ("x.nrrd", "x"),
        ("sub.1.NII.GZ", "sub.1"),
        ("v1.5.mha", "v1.5"),
        ("pic.png", "pic"),
        ("1.2.840.113", "1.2.840.113"),
    ],
)
def test_case_name(path, name):
    assert case_name(path) == name


def fill(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_images_of_a_folder_or_of_its_images(tmp_path):
    with pytest.raises(ValueError, match="holds no image"):
        images_by_case(tmp_path)
    fill(tmp_path, "images/b.nii.gz", "images/a.NRRD", "images/note.txt", "images/._a.nii.gz", ".nii.gz")
    assert images_by_case(tmp_path) == {
        "a": (tmp_path / "images/a.NRRD",),
        "b": (tmp_path / "images/b.nii.gz",),
    }
    fill(tmp_path, "top.mha", "._top.nii")
    assert images_by_case(tmp_path) == {"top": (tmp_path / "top.mha",)}
    assert find_images(str(tmp_path)) == [{"image": str(tmp_path / "top.mha"), "case": "top"}]
    fill(tmp_path, "top.nii")
    for find in (images_by_case, find_images):
        with pytest.raises(ValueError, match=r"top\.nii: has the same name as .*top\.mha") as caught:
            find(str(tmp_path))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("below", ["", "images/"])
def test_a_folder_for_each_case_gives_the_names_that_a_data_set_gives(tmp_path, below):
    folders = [f"{below}{folder}" for folder in ("sub-01", "sub-02", ".hidden")]
    fill(tmp_path, *[f"{folder}/image.nii.gz" for folder in folders])
    found = images_by_case(tmp_path)
    assert found == {f"sub-0{i}_image": (tmp_path / f"{below}sub-0{i}/image.nii.gz",) for i in (1, 2)}
    dataset, _ = read_dataset(tmp_path, landmarks=["tip"])
    assert {case.name: case.image for case in dataset.cases} == found
