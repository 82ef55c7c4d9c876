"""Images of every format beside their markups: those that are read are matched, the others are named with a remedy."""

import itk
import nibabel as nib
import numpy as np
import pytest

from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.datasets import read_dataset
from auto_config.errors import UserError
from auto_config.prediction.input import find_images

POINTS = {"AC": [1.0, 2.0, 3.0], "PC": [4.0, -3.0, 1.0]}
SHAPE = (12, 14, 10)


def write_image(path, seed):
    """A volume around the points, whatever its format."""
    voxels = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)
    affine = np.eye(4)
    affine[:3, 3] = -6
    if path.name.endswith((".mgz", ".mgh")):
        nib.save(nib.MGHImage(voxels, affine), path)
    elif path.name.endswith((".img", ".nii.gz")):
        nib.save((nib.Nifti1Pair if path.suffix == ".img" else nib.Nifti1Image)(voxels, affine), path)
    else:
        image = itk.image_from_array(voxels.T.copy())
        image.SetOrigin([6.0, 6.0, -6.0])
        image.SetDirection(itk.matrix_from_array(np.diag([-1.0, -1.0, 1.0])))
        itk.imwrite(image, str(path))


def write_set(root, ending, layout):
    images, labels = (root, root) if layout == "beside" else (root / "images", root / "landmarks")
    for folder in (images, labels):
        folder.mkdir(parents=True, exist_ok=True)
    for seed, case in enumerate(("ann", "ben")):
        write_image(images / (case + ending), seed)
        write_markups(labels / f"{case}.mrk.json", LandmarkSet.from_inline(POINTS))
    return images


@pytest.mark.parametrize("layout", ["beside", "folders"])
@pytest.mark.parametrize("ending", [".mgz", ".mgh", ".img", ".nhdr", ".mhd"])
def test_formats_of_one_or_two_files_are_one_image_of_a_case(ending, layout, tmp_path):
    images = write_set(tmp_path / "set", ending, layout)
    dataset, problems = read_dataset(tmp_path / "set")
    assert ([case.name for case in dataset.cases], problems) == (["ann", "ben"], [])
    assert list(find_images(images)) == ["ann", "ben"]


@pytest.mark.parametrize("layout", ["beside", "folders"])
@pytest.mark.parametrize("ending", [".gipl", ".vtk"])
def test_other_volumes_are_named_and_the_remedy_helps(ending, layout, tmp_path):
    images = write_set(tmp_path / "set", ending, layout)
    for read in (read_dataset, find_images):
        with pytest.raises(UserError, match=rf"ann\{ending}: images in \{ending} are not read; save it as .nii.gz"):
            read(tmp_path / "set")
    with pytest.raises(UserError, match="are not read"):
        find_images(images / f"ann{ending}")
    for seed, case in enumerate(("ann", "ben")):
        write_image(images / f"{case}.nii.gz", seed)
    dataset, problems = read_dataset(tmp_path / "set")
    assert (len(dataset.cases), problems) == (2, [])


@pytest.mark.parametrize(
    ("ending", "remedy"),
    [
        (".webp", ".png"),
        (".svs", ".tif"),
        (".czi", ".tif"),
        (".h5", "spacing"),
        (".raw", "header"),
        (".GIPL.gz", ".nii"),
    ],
)
def test_one_image_of_another_format_is_named_with_its_case(ending, remedy, tmp_path):
    write_set(tmp_path / "set", ".nii.gz", "folders")
    (tmp_path / "set" / "images" / f"carl{ending.lower()}").write_bytes(b"?")
    write_markups(tmp_path / "set" / "landmarks" / "carl.mrk.json", LandmarkSet.from_inline(POINTS))
    dataset, (problem,) = read_dataset(tmp_path / "set")
    assert len(dataset.cases) == 2 and (problem.severity, problem.case) == ("warning", "carl")
    assert f"carl{ending.lower()}: images in {ending.lower()} are not read" in problem.message
    assert remedy in problem.message


def test_a_mesh_beside_the_image_is_passed_over(tmp_path):
    images = write_set(tmp_path / "set", ".nii.gz", "folders")
    (images / "ann.vtk").write_text("# vtk DataFile Version 3.0\n")
    assert read_dataset(tmp_path / "set")[1] == []
