"""The synthetic brains: whole cases, as files and in memory, from a template that needs no download."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from auto_config.bundle_scripts.points.landmark_files import read_markups
from auto_config.demo import brains
from auto_config.demo.afids import NAMES, afid_points
from auto_config.demo.brains import Brain, Template, load_template, make_brain, write_brains


@pytest.fixture(scope="module", name="cohort")
def _cohort(template: Template) -> list[Brain]:
    return [make_brain(template, seed=0, index=index) for index in range(10)]


def test_the_same_seed_gives_the_same_brain(template: Template) -> None:
    one, same, other = (make_brain(template, seed=3, index=index) for index in (1, 1, 2))
    np.testing.assert_array_equal(one.image.dataobj, same.image.dataobj)
    np.testing.assert_array_equal(one.points, same.points)
    assert not np.allclose(one.points, other.points, atol=1)


def test_all_points_lie_inside_and_grids_vary(cohort: list[Brain]) -> None:
    for brain in cohort:
        inverse = np.linalg.inv(brain.image.affine)
        voxels = brain.points @ inverse[:3, :3].T + inverse[:3, 3]
        assert (voxels > 0).all()
        assert (voxels < np.array(brain.image.shape) - 1).all()
    assert len({nib.aff2axcodes(brain.image.affine) for brain in cohort}) >= 4
    spacings = np.array([brain.image.header.get_zooms() for brain in cohort])
    assert 1.59 < spacings.min() < 1.9
    assert 2.5 < spacings.max() < 3.3
    directions = [
        np.abs(brain.image.affine[:3, :3]).max(axis=0) / spacing
        for brain, spacing in zip(cohort, spacings, strict=True)
    ]
    assert 1 <= sum(along.min() < 0.9999 for along in directions) <= 7, "a third is tilted"


def test_the_mean_shape_is_far_off(cohort: list[Brain]) -> None:
    """So that a model has to look at the image: predicting the mean position leaves 8 to 13 mm."""
    offsets = []
    for brain in cohort:
        centre = brain.image.affine @ [*(np.array(brain.image.shape) - 1) / 2, 1]
        offsets.append(brain.points - centre[:3])
    spread = np.array(offsets) - np.mean(offsets, axis=0)
    assert 8 < np.linalg.norm(spread, axis=-1).mean() < 13


def test_tissues_keep_their_order(cohort: list[Brain]) -> None:
    """Fluid is darker than grey matter, and that than white, at the points that are known to lie in them."""
    for index in range(3):
        warp = brains.random_warp(np.random.default_rng([0, index]))
        brain = cohort[index]
        inverse = np.linalg.inv(brain.image.affine)
        values = np.asarray(brain.image.dataobj)
        means = []
        for low, high in ((0.92, 0.98), (0.65, 0.85), (0.0, 0.5)):
            ends = np.random.default_rng(0).normal(size=(400, 3))
            ends *= np.random.default_rng(1).uniform(low, high, (400, 1)) / np.linalg.norm(ends, axis=1, keepdims=True)
            voxels = warp.from_template(ends * [70, 88, 70] + [0, -18, 0]) @ inverse[:3, :3].T + inverse[:3, 3]
            means.append(values[tuple(np.round(voxels).astype(int).T)].mean())
        assert means[0] < means[1] < means[2]


def test_files_hold_image_and_points(template: Template, tmp_path: Path) -> None:
    names = list(write_brains(tmp_path, template, range(4, 6), seed=0))
    assert names == ["brain_004", "brain_005"]
    brain = make_brain(template, seed=0, index=5)
    image = nib.load(tmp_path / "images" / "brain_005.nii.gz")
    np.testing.assert_array_equal(image.dataobj, brain.image.dataobj)
    np.testing.assert_allclose(image.affine, brain.image.affine, atol=1e-3)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)
    assert image.header.get_xyzt_units()[0] == "mm"
    landmarks = read_markups(tmp_path / "landmarks" / "brain_005.mrk.json")
    assert landmarks.names == NAMES
    np.testing.assert_allclose(landmarks.points, brain.points, atol=1e-6)


def test_afids_are_32_and_symmetric() -> None:
    """Left and right fiducials mirror each other to a millimetre, midline ones lie on x = 0."""
    points = dict(zip(NAMES, afid_points(), strict=True))
    assert len(points) == 32
    for name, point in points.items():
        if name.startswith("R "):
            np.testing.assert_allclose(point * [-1, 1, 1], points["L " + name[2:]], atol=1)
        elif not name.startswith("L "):
            assert abs(point[0]) < 0.3


def test_the_template_fits_the_points() -> None:
    """Around fiducials that are known to lie in one tissue, the template is mostly of that tissue."""
    pytest.importorskip("nilearn")
    template = load_template()
    inverse = np.linalg.inv(template.affine)
    around = {}
    for name, point in zip(NAMES, afid_points(), strict=True):
        i, j, k = np.round(inverse[:3, :3] @ point + inverse[:3, 3]).astype(int)
        around[name] = template.tissues[:, i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3].mean(axis=(1, 2, 3))
    fluid, grey, white = range(3)
    assert around["culmen"][fluid] > 0.6
    assert around["pineal gland"][fluid] > 0.5
    assert around["R inferior AM temporal horn"][grey] > 0.8
    assert around["L superior AM temporal horn"][grey] > 0.8
    assert around["genu of CC"][white] > 0.5
    means = template.tissue_means
    assert means[fluid] < means[grey] < means[white]
