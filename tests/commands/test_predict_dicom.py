"""`predict` takes a DICOM series: the folder itself, or a folder of such folders."""

import csv

import numpy as np
import pytest
from dicom_writer import write_series
from toy_bundle import write_toy_bundle

from auto_config.commands.predict import predict

VOXELS = [(2, 3, 4), (9, 1, 6)]
STEP = (0.0, 0.0, -2.0)


def write_scan(folder, **options):
    """Landmark k at the voxel with the value 10 * (k + 1), LPS as `write_series` places it; returns RAS mm."""
    array = np.zeros((12, 10, 8), dtype=np.uint16)
    for k, voxel in enumerate(VOXELS):
        array[voxel] = 10 * (k + 1)
    write_series(folder, array, step=STEP, **options)
    lps = np.array([-10.0, 20.0, 30.0]) + np.array([[x * 0.5, y * 0.7, z * STEP[2]] for x, y, z in VOXELS])
    return lps * [-1, -1, 1]


def points(folder, case):
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["case"] == case]
    return np.array([[float(row[f"{axis}_ras_mm"]) for axis in "xyz"] for row in rows])


@pytest.fixture
def bundle(tmp_path):
    return write_toy_bundle(tmp_path / "toy")


def test_a_series_is_one_case_named_after_its_folder(bundle, tmp_path):
    truth = write_scan(tmp_path / "scans/anna")
    assert predict(bundle, tmp_path / "scans/anna", tmp_path / "one") == 0
    np.testing.assert_allclose(points(tmp_path / "one", "anna"), truth, atol=1e-4)


def test_a_folder_of_series_and_a_broken_one(bundle, tmp_path, capsys):
    truth = write_scan(tmp_path / "scans/anna")
    write_scan(tmp_path / "scans/ben", leave_out=(3,))
    assert predict(bundle, tmp_path / "scans", tmp_path / "two") == 1
    np.testing.assert_allclose(points(tmp_path / "two", "anna"), truth, atol=1e-4)
    assert not len(points(tmp_path / "two", "ben"))
    error = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert "ben: " in error
    assert "slices are missing" in error
