"""The picture: slices go through the landmark, and marks sit where image and points say."""

from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pytest

from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.demo.picture import PLANES, PictureCase, _draw_slice, draw

TRUE = np.array([[3.0, -22.0, 11.0], [20.0, -40.0, 11.5]])


@pytest.fixture
def case(tmp_path: Path) -> PictureCase:
    """A bright blob at the first landmark, on an oblique LPS-like grid with thick slices."""
    affine = np.array([[-1.96, 0.3, 0, 60], [-0.39, -1.5, 0, 60], [0, 0, 3.0, -40], [0, 0, 0, 1]])
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in (64, 80, 36)), indexing="ij"), axis=-1)
    world = voxels @ affine[:3, :3].T + affine[:3, 3]
    values = np.exp(-0.5 * ((world - TRUE[0]) ** 2).sum(axis=-1) / 4**2)
    path = tmp_path / "blob.nii.gz"
    nib.save(nib.Nifti1Image((1000 * values).astype(np.int16), affine), path)
    status = np.ones(2, dtype=np.int8)
    return PictureCase(path, LandmarkSet(("a", "b"), TRUE, status), LandmarkSet(("a", "b"), TRUE + [1.0, 0, 0], status))


@pytest.mark.parametrize("plane", PLANES)
def test_the_blob_lies_under_the_mark(case: PictureCase, plane: tuple[str, int, int, int]) -> None:
    _, normal, right, up = plane
    figure, axes = plt.subplots()
    _draw_slice(axes, nib.load(case.image), case, 0, plane)
    (image,) = axes.images
    values = np.asarray(image.get_array())
    left, far_right, bottom, top = image.get_extent()
    row, column = np.unravel_index(values.argmax(), values.shape)
    brightest = (
        np.linspace(left, far_right, values.shape[1])[column],
        np.linspace(bottom, top, values.shape[0])[row],
    )
    assert np.linalg.norm(np.array(brightest) - TRUE[0, [right, up]]) < 1.6, "half a voxel and half a pixel"
    large_true, large_predicted = axes.lines[1], axes.lines[3]
    np.testing.assert_allclose(np.ravel(large_true.get_data()), TRUE[0, [right, up]])
    np.testing.assert_allclose(np.ravel(large_predicted.get_data()), (TRUE[0] + [1, 0, 0])[[right, up]])
    near = 2 if normal == 2 else 1
    assert len(axes.lines[0].get_xdata()) == near, "the other landmark is near the axial slice only"
    plt.close(figure)


def test_the_file_has_a_column_for_each_case(case: PictureCase, tmp_path: Path) -> None:
    path = tmp_path / "new" / "picture.png"
    draw(path, [(case, "a"), (case, "b")], title="two")
    height, width = plt.imread(path).shape[:2]
    assert (width, height) == (520, 840)
