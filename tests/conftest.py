"""What tests of all folders share."""

import sys
import tempfile
from pathlib import Path

import compiled_once
import pytest
from hypothesis import settings

compiled_once.install()

# The same examples each time: a suite that failed once in a hundred runs would say nothing of the change before it.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

LONGEST = (
    "tests/methods/test_contract.py",
    "tests/bundle/monai_clients/test_exports.py",
    "tests/methods/combining/test_two_stages.py",
    "tests/api/test_notebooks.py",
    "tests/datasets/test_fuzzing.py",
    "tests/bundle/test_calibration.py",
    "tests/methods/test_adding_a_method.py",
    "tests/methods/combining/test_own_networks.py",
    "tests/review/test_label_errors.py",
    "tests/commands/test_train_jobs.py",
    "tests/bundle/test_package.py",
    "tests/bundle/test_verify.py",
)
"""Files that take half a minute and more, the longest first."""


def pytest_collection_modifyitems(items):
    """The longest files first: a process that gets one of them last would leave the others without work."""
    places = {Path(__file__).parents[1] / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def _warm_python():
    from warm_python import WarmPython

    with tempfile.TemporaryDirectory(prefix="warm_") as folder:
        warm = WarmPython(Path(folder))
        yield warm
        warm.close()


@pytest.fixture(scope="module")
def warm_python(_warm_python):
    """Processes of this module, started by `sys.executable`, have PyTorch and MONAI imported: see `WarmPython`."""
    with _warm_python.in_use():
        yield


@pytest.fixture
def cold_python(_warm_python, monkeypatch):
    """The interpreter itself, for a test of what a process imports."""
    monkeypatch.setattr(sys, "executable", _warm_python.interpreter)
