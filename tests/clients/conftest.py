"""Tests with real viewers and servers; they run when this folder is named: `make test-clients`."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "apps")]


def pytest_addoption(parser):
    parser.addoption(
        "--scans",
        help="folder with images/NAME.nii.gz and landmarks/NAME.mrk.json, of which the first is used; else noise",
    )
    parser.addoption("--bundle", help="bundle that finds the landmarks; without it, one with points that are known")
    parser.addoption("--pictures", help="folder to keep the pictures of the viewer in")


@pytest.fixture(scope="session", autouse=True)
def parts_are_there(request):
    # It takes minutes and the rights of root, which a run of all tests does not ask for.
    named = [Path(request.config.invocation_params.dir, word.partition("::")[0]) for word in request.config.args]
    if not any(path.resolve().is_relative_to(HERE) for path in named):
        pytest.skip("runs where its folder is named: pytest tests/clients")
    from parts import what_is_missing

    if missing := what_is_missing():
        pytest.skip(f"needs {missing}")
