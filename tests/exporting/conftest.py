"""Bundles with first weights whose heatmaps have clear maxima, in one and two stages."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bundle_tools import edit
from clear_maxima import clear_weights
from steps import narrow_bundle, write_cases


@pytest.fixture(scope="session")
def cases(tmp_path_factory):
    """Volumes with thick slices, one of them oblique, with other axes and with air that is cut off."""
    folder = write_cases(tmp_path_factory.mktemp("data"), dims=3)
    path = folder / "images" / "c0.nii.gz"
    image = nib.load(path)
    turn = np.deg2rad(12)
    oblique = np.eye(4)
    oblique[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    voxels = np.pad(image.get_fdata(dtype=np.float32), ((3, 5), (0, 4), (2, 0)), constant_values=-50)
    # Stored as (S, L, P): flipped and permuted.
    stored = np.transpose(voxels, (2, 0, 1))[:, ::-1, ::-1]
    to_grid = np.array([[0, -1, 0, voxels.shape[0] - 1], [0, 0, -1, voxels.shape[1] - 1], [1, 0, 0, 0], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(np.ascontiguousarray(stored), oblique @ image.affine @ to_grid), folder / "odd.nii.gz")
    return folder


@pytest.fixture(scope="session")
def two_stages(cases, tmp_path_factory):
    """Coarse to fine, mirrored."""
    root = tmp_path_factory.mktemp("bundles") / "two_stages"
    narrow_bundle(cases, root, stages=2, dims=3)
    clear_weights(root, "model.pt", 1)
    return root


@pytest.fixture(scope="session")
def one_stage(cases, tmp_path_factory):
    """One stage, an ensemble of two networks, not mirrored, resampled to coarser voxels."""
    root = tmp_path_factory.mktemp("bundles") / "one_stage"
    narrow_bundle(cases, root, stages=1, dims=3, spacing=[3.0, 2.5, 4.0])
    edit(root / "configs" / "inference.json", lambda content: content["inferer"].pop("flip_pairs"))
    for seed in (0, 1):
        clear_weights(root, f"member_{seed}.pt", seed)
    shutil.copy(root / "models" / "member_0.pt", root / "models" / "model.pt")
    (root / "models" / "ensemble.json").write_text(json.dumps({"files": ["member_0.pt", "member_1.pt"]}))
    return root


@pytest.fixture
def copy_of(tmp_path):
    """A copy of a bundle that the test may change."""
    return lambda root: Path(shutil.copytree(root, tmp_path / root.name, ignore=shutil.ignore_patterns("cache")))
