"""One training for all pages."""

import pytest
from walk import Walk


@pytest.fixture(scope="session")
def first_walk(tmp_path_factory):
    """The folder of the tutorial, whose training is the only one."""
    return Walk(tmp_path_factory.mktemp("tutorial"))


@pytest.fixture(scope="session")
def trained(first_walk, _warm_python):
    """The bundle that the tutorial trained, or the same made here where that test was not run."""
    bundle = first_walk.folder / "my_landmarks"
    if not (bundle / "models" / "model.pt").is_file():
        assert first_walk.run(["auto_config", "create", "scans", "my_landmarks", "--overwrite"]) == 0
        with _warm_python.in_use():
            assert first_walk.run(["auto_config", "train", "my_landmarks", "--time_budget", "15m"]) == 0
    return bundle
