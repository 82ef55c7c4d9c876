"""Every pair of writable formats: what one writes and the other writes again is what was there, to a micrometre."""

import shutil
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkSet, name_problem
from auto_config.datasets import Case, Dataset, read_dataset
from auto_config.datasets.model.properties import Measure, Properties
from auto_config.datasets.registry import WRITERS
from auto_config.datasets.writing import write_dataset

TOLERANCE_MM = 1e-3
SHAPE = (14, 11, 9)
CASES = ("a 1", "Ä,10", 'x"2')
CLASSES = {"labelmap"}  # written in whole voxels
NAMES = st.lists(
    st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn", "Co")), min_size=1, max_size=12).filter(
        lambda name: name_problem(name) is None
    ),
    min_size=2,
    max_size=6,
    unique_by=str.casefold,
)


def oblique(rng, order, signs):
    """An affine with any orientation, any spacing and an oblique turn of up to about 20 degrees."""
    turned, _ = np.linalg.qr(np.eye(3) + rng.uniform(-0.2, 0.2, (3, 3)))
    turned *= np.sign(np.diag(turned))
    affine = np.eye(4)
    affine[:3, :3] = turned[:, order] * signs * rng.uniform(0.2, 3.0, 3)
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return affine


def apart(rng, count, shape):
    """Voxels of which no two are neighbours, inside the image, with any fraction."""
    grid = np.stack(np.meshgrid(*[np.arange(1, size - 1, 2) for size in shape], indexing="ij"), -1)
    cells = grid.reshape(-1, len(shape))
    return rng.permutation(cells)[:count] + rng.uniform(-0.4, 0.4, (count, len(shape)))


def make(root, dims, names, seed, *, instances=False, shape=None):
    """A data set in memory, its images on disk."""
    rng = np.random.default_rng(seed)
    shape = (shape or SHAPE)[:dims]
    spacing = tuple(rng.uniform(0.05, 2, 2))
    many = (names[-1],) if instances else ()
    cases = []
    for number, name in enumerate(CASES):
        path = root / f"image{number}{'.nii.gz' if dims == 3 else '.png'}"
        if dims == 3:
            affine = oblique(rng, rng.permutation(3), rng.choice([-1.0, 1.0], 3))
            nib.save(nib.Nifti1Image(np.zeros(shape, dtype=np.uint8), affine), path)
            affine = nib.load(path).affine  # as float32 holds it
        else:
            Image.fromarray(np.zeros(shape[::-1], dtype=np.uint8)).save(path)
            affine = np.diag([*spacing, 1.0])
        sets = []
        for _ in range(2):
            voxels = apart(rng, len(names) + 2, shape)
            points = voxels @ affine[:dims, :dims].T + affine[:dims, -1]
            status = rng.choice([PRESENT, PRESENT, PRESENT, ABSENT, UNKNOWN], len(names)).astype(np.int8)
            status[0] = PRESENT
            found = {}
            for one in many:
                row = names.index(one)
                if status[row] != UNKNOWN:
                    status[row] = PRESENT if rng.random() < 0.7 else ABSENT
                    found[one] = points[[row, -1, -2]] if status[row] == PRESENT else np.zeros((0, dims))
            sets.append(LandmarkSet(tuple(names), points[: len(names)], status, found))
        cases.append(
            Case(
                name,
                (path,),
                sets[0],
                split="test" if number == 2 else "training",
                fold=number if number < 2 else None,
                group="patient, 1" if number else None,
                raters={"Dr. Ä": sets[1]},
                pixel_spacing=spacing if dims == 2 else None,
            )
        )
    properties = Properties(
        pairs=((names[0], names[1]),),
        many=many,
        measures=(Measure("length", "distance", (names[0], names[1])),),
        descriptions={names[0]: "where it is"},
        notes=("a note",),
    )
    return Dataset(root, "made", tuple(names), tuple(cases), dims, "mm", properties)


def in_voxels(case, points):
    affine = nib.load(case.image[0]).affine if points.shape[1] == 3 else np.diag([*case.pixel_spacing, 1.0])
    return (points - affine[:-1, -1]) @ np.linalg.inv(affine[:-1, :-1]).T


def distances(case, first, second, *, voxels):
    """Largest difference along any axis, in mm or in voxels, after the points of either are sorted."""
    assert first.shape == second.shape
    if voxels:
        first, second = in_voxels(case, first), in_voxels(case, second)
        # A label map knows which points there are, but not which of them is the first.
        return max(np.abs(second - point).max(axis=1).min() for point in first) if len(first) else 0.0
    return np.abs(first - second).max(initial=0.0)


def assert_same(expected, got, *, rough, raters):
    assert got.names == expected.names
    assert (got.spatial_dims, got.unit, got.properties) == (expected.spatial_dims, expected.unit, expected.properties)
    assert {case.name for case in got.cases} == {case.name.replace('"', "_") for case in expected.cases}
    found = {case.name: case for case in got.cases}
    limit = 0.5 + 1e-3 if rough else TOLERANCE_MM
    for case in expected.cases:
        other = found[case.name.replace('"', "_")]
        assert (other.split, other.fold, other.group) == (case.split, case.fold, case.group)
        assert [path.resolve() for path in other.image] == [path.resolve() for path in case.image]
        pairs = [(case.landmarks, other.landmarks)]
        if raters:
            assert len(other.raters) == 1
            pairs += list(zip(case.raters.values(), other.raters.values(), strict=True))
        for one, two in pairs:
            assert two.status.tolist() == one.status.tolist()
            assert two.instances.keys() == one.instances.keys()
            single = np.array([name not in one.instances for name in one.names]) & one.present
            for row in np.flatnonzero(single):
                assert distances(case, one.points[row : row + 1], two.points[row : row + 1], voxels=rough) <= limit
            for name, points in one.instances.items():
                assert distances(case, points, two.instances[name], voxels=rough) <= limit


@settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
@given(names=NAMES, seed=st.integers(0, 2**32), instances=st.booleans())
@example(names=["a", "A b", "sutūre, 1"], seed=0, instances=True)
@example(names=['"', "头", "x_ras_mm"], seed=1, instances=False)
@example(names=["y", "x", "absent"], seed=2, instances=True)
@pytest.mark.parametrize("dims", [3, 2])
def test_each_pair_of_formats_keeps_points_status_and_declarations(dims, names, seed, instances):
    """A data set goes through each format, and from each into every other one."""
    root = Path(tempfile.mkdtemp())
    try:
        dataset = make(root, dims, names, seed, instances=instances)
        formats = [name for name, writer in WRITERS.items() if dims in writer.dims]
        for first in formats:
            losses = write_dataset(dataset, root / first, first)
            assert all("rater" in loss or "renamed" in loss for loss in losses)
            middle, _ = read_dataset(root / first)
            rough, raters = first in CLASSES, WRITERS[first].raters
            assert_same(dataset, middle, rough=rough, raters=raters)
            # A third of the ways on, another one for each of the fixed examples, so that every pair is tried.
            for second in [name for number, name in enumerate(formats) if (number + seed) % 3 == 0]:
                write_dataset(middle, root / f"{first} {second}", second)
                last, _ = read_dataset(root / f"{first} {second}")
                if not rough:
                    assert_same(dataset, last, rough=second in CLASSES, raters=raters and WRITERS[second].raters)
                elif second not in CLASSES:
                    assert_same(middle, last, rough=False, raters=False)
                shutil.rmtree(root / f"{first} {second}")
    finally:
        shutil.rmtree(root)


@pytest.mark.parametrize("to", WRITERS)
def test_two_hundred_landmarks(to, tmp_path):
    dims = min(WRITERS[to].dims) if to in ("coco", "labelme") else 3
    names = [f"Punkt {number}, „{chr(0x4E00 + number)}“" for number in range(200)]
    dataset = make(tmp_path, dims, names, 1, shape=(60, 50, 40))
    write_dataset(dataset, tmp_path / "out", to)
    got, _ = read_dataset(tmp_path / "out")
    assert_same(dataset, got, rough=to in CLASSES, raters=WRITERS[to].raters)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=300), max_size=6, unique=True)
)
def test_file_stems_are_unique_and_can_be_files(names):
    from auto_config.datasets.formats.shared.target import file_stems

    stems = file_stems(names)
    assert len({stem.casefold() for stem in stems.values()}) == len(names)
    for stem in stems.values():
        assert stem
        assert stem == stem.strip(" ")
        assert not set(stem) & set('/\\:*?"<>|\0')
        assert not stem.startswith(".")
        assert len((stem + "_0000.nii.gz").encode()) < 255
