"""Synthetic brains: the MNI152 template, warped, with another contrast, noise and grid in each case.

The template is nilearn's `mni_icbm152_nlin_sym_09a` (in its wheel, not redistributed here): Fonov, V., et al.: Unbiased
average age-appropriate atlases for pediatric studies. NeuroImage 54(1), 313-327 (2011). Image and points move alike, so
the points are true to a fraction of a voxel; but all cases come from one brain, and results on them say nothing of real
ones.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from auto_config.bundle_scripts.grid.grids import apply_affine, world_to_voxel
from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import PRESENT, LandmarkSet
from auto_config.datasets.model.properties import Properties, write_properties
from auto_config.demo.afids import NAMES, afid_points
from auto_config.demo.warp import Warp, random_warp
from auto_config.errors import UserError
from auto_config.public_datasets.afids import DESCRIPTIONS
from auto_config.wording import install_line

ORIENTATIONS = ("RAS", "LPS", "LAS", "PIR", "ASL")
BRAIN_THRESHOLD = 0.05


@dataclass(frozen=True)
class Template:
    """The brain that all cases come from.

    Args:
        t1: (X, Y, Z) float32, T1-weighted, 0 outside the brain, 1 at its brightest.
        tissues: (3, X, Y, Z) float32, shares of fluid, grey and white matter; their sum is 1 in the brain, 0 outside.
        affine: (4, 4) voxel to RAS mm.
    """

    t1: np.ndarray
    tissues: np.ndarray
    affine: np.ndarray

    @property
    def tissue_means(self) -> np.ndarray:
        """(3,) mean grey value of fluid, grey and white matter."""
        weights = self.tissues.reshape(3, -1)
        return weights @ self.t1.ravel() / weights.sum(axis=1)

    def outline(self, step: int = 8) -> np.ndarray:
        """Points (N, 3) in RAS mm all over the brain, one in `step` voxels along each axis."""
        voxels = np.argwhere(self.t1[::step, ::step, ::step] > BRAIN_THRESHOLD) * step
        return apply_affine(self.affine, voxels)


@dataclass(frozen=True)
class Brain:
    """One case: `image` with its affine, and `points` (32, 3) in RAS mm."""

    image: nib.Nifti1Image
    points: np.ndarray


def load_template() -> Template:
    """Load the template from nilearn's wheel.

    Raises:
        UserError: nilearn is not installed.
    """
    try:
        from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template
    except ImportError as error:
        raise UserError(f"the demo needs nilearn for its brain; {install_line('nilearn')}") from error
    image = load_mni152_template(resolution=1)
    t1 = np.asarray(image.dataobj, dtype=np.float32)
    brain = t1 > BRAIN_THRESHOLD
    grey, white = (
        np.asarray(load(resolution=1).dataobj, dtype=np.float32) * brain
        for load in (load_mni152_gm_template, load_mni152_wm_template)
    )
    fluid = np.clip(brain - grey - white, 0, None)
    tissues = np.stack([fluid, grey, white])
    return Template(t1, tissues / np.maximum(tissues.sum(axis=0), 1e-6), np.asarray(image.affine))


def make_brain(template: Template, seed: int, index: int) -> Brain:
    """Make case number `index`; the same seed and index give the same case."""
    random = np.random.default_rng([seed, index])
    warp = random_warp(random)
    shape, affine = _random_grid(random, warp.from_template(template.outline()))
    means = np.sort(random.uniform([0.08, 0.45, 0.75], [0.35, 0.7, 1.0]))
    # The template keeps its own detail, and each tissue gets another mean.
    shifts = means - template.tissue_means
    contrast = template.t1 + np.tensordot(shifts.astype(np.float32), template.tissues, axes=1)
    values = sample(np.clip(contrast, 0, None), template.affine, warp, shape, affine)
    values *= _random_bias(random, shape)
    sd = random.uniform(0.015, 0.05)
    # Magnitude images have Rician noise.
    values = np.hypot(values + random.normal(0, sd, shape), random.normal(0, sd, shape))
    image = nib.Nifti1Image(np.round(values * random.uniform(300, 1500)).astype(np.int16), affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    wanted = nib.orientations.axcodes2ornt(random.choice(ORIENTATIONS))
    image = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(affine), wanted))
    return Brain(image, warp.from_template(afid_points()))


def sample(
    volume: np.ndarray, volume_affine: np.ndarray, warp: Warp, shape: tuple[int, ...], affine: np.ndarray
) -> np.ndarray:
    """Show the template's `volume` (X, Y, Z), moved by `warp`, on a grid: linear interpolation, 0 outside.

    Args:
        volume: Values on the template's grid.
        volume_affine: (4, 4) voxel of `volume` to template mm.
        warp: Where the template goes.
        shape: Of the result.
        affine: (4, 4) voxel of the result to case mm.
    """
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1).reshape(-1, 3)
    coordinates = world_to_voxel(volume_affine, warp.to_template(apply_affine(affine, voxels)))
    values: np.ndarray = map_coordinates(volume, coordinates.T, order=1, mode="constant", cval=0.0)
    return values.reshape(shape)


def write_brains(directory: Path, template: Template, indices: range, *, seed: int, workers: int = 2) -> Iterator[str]:
    """Write cases as a data set: images/NAME.nii.gz and landmarks/NAME.mrk.json.

    Args:
        directory: Folder for the data set, made if it is not there.
        template: From `load_template`.
        indices: Numbers of the cases.
        seed: Of the whole collection.
        workers: Threads; scipy, numpy and zlib work outside Python's lock.

    Yields:
        The name of each case when it is written.
    """
    for folder in ("images", "landmarks"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(partial(_write_brain, directory, template, seed), indices)


def write_definitions(directory: Path) -> None:
    """Write ``landmarks.json`` with what each landmark is, which a bundle of these brains shows in its atlas.

    Args:
        directory: Folder of `write_brains`.
    """
    # Pairs are left to be found, as in data of one's own.
    write_properties(directory / "landmarks.json", NAMES, Properties(pairs=None, descriptions=DESCRIPTIONS))


def _write_brain(directory: Path, template: Template, seed: int, index: int) -> str:
    name = f"brain_{index:03d}"
    brain = make_brain(template, seed, index)
    nib.save(brain.image, directory / "images" / f"{name}.nii.gz")
    landmarks = LandmarkSet(NAMES, brain.points, np.full(len(NAMES), PRESENT, dtype=np.int8))
    write_markups(directory / "landmarks" / f"{name}.mrk.json", landmarks)
    return name


def _random_grid(random: np.random.Generator, outline: np.ndarray) -> tuple[tuple[int, ...], np.ndarray]:
    """A field of view around `outline` (N, 3) in mm, not quite centred; a third is tilted, a third has thick slices."""
    tilt = random.normal(0, 5, 3) if random.random() < 1 / 3 else np.zeros(3)
    directions = Rotation.from_euler("xyz", tilt, degrees=True).as_matrix()
    spacing = np.full(3, random.uniform(1.6, 2.3))
    if random.random() < 1 / 3:
        spacing[random.integers(3)] = random.uniform(2.5, 3.2)
    along = outline @ directions
    low = along.min(axis=0) - random.uniform(4, 28, 3)
    high = along.max(axis=0) + random.uniform(4, 28, 3)
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = directions @ low
    return tuple(int(n) for n in np.ceil((high - low) / spacing)), affine


def _random_bias(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A smooth factor over the image, about 1: the sensitivity of a coil. Float32, of `shape`."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    slopes, curves = random.normal(0, 0.1, 3), random.normal(0, 0.1, 3)
    logarithm = sum(slope * axis + curve * axis**2 for slope, curve, axis in zip(slopes, curves, axes, strict=True))
    return np.exp(logarithm).astype(np.float32)
