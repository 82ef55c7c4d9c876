"""Tests with real viewers and servers; they run when this folder is named: `make test-clients`."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "apps"), str(HERE.parents[1] / "apps")]


def pytest_addoption(parser):
    parser.addoption(
        "--scans",
        help="folder with images/NAME.nii.gz and landmarks/NAME.mrk.json, of which the first is used; else noise",
    )
    parser.addoption("--bundle", help="bundle that finds the landmarks; without it, one with points that are known")
    parser.addoption("--pictures", help="folder to keep the pictures of the viewer in")


@pytest.fixture(scope="session", autouse=True)
def parts_are_there(request):
    # Options are only known where this folder was named on the command line.
    if not hasattr(request.config.option, "scans"):
        pytest.skip("runs where its folder is named: pytest tests/clients")
    from parts import what_is_missing

    if missing := what_is_missing():
        pytest.skip(f"needs {missing}")
