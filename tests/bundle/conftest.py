"""Two bundles made from blobs for all tests, and a server that runs MONAI's commands quickly."""

import shutil
from pathlib import Path

import pytest
from blobs import ODD, write_blobs
from bundle_tools import Server, shrink

from auto_config.commands.create import create


@pytest.fixture(scope="session")
def server(tmp_path_factory, _warm_python):
    served = Server(tmp_path_factory.mktemp("output"), _warm_python.path)
    yield served
    served.close()


@pytest.fixture(scope="session")
def heads(tmp_path_factory):
    """Folder of the data set with pairs, and its true points."""
    folder = tmp_path_factory.mktemp("heads")
    return folder, write_blobs(folder)


@pytest.fixture(scope="session")
def odd(tmp_path_factory):
    """Folder of the same images with odd names."""
    folder = tmp_path_factory.mktemp("odd")
    return folder, write_blobs(folder, ODD)


@pytest.fixture(scope="session")
def two_stage_bundle(heads, tmp_path_factory):
    """Untrained, small: coarse to fine."""
    bundle = tmp_path_factory.mktemp("bundles") / "head_two_stages"
    assert create(heads[0], bundle, network="tiny", stages=2, patch_size=[16, 16, 16], workers=1, few_labels=False) == 0
    return shrink(bundle)


@pytest.fixture(scope="session")
def one_stage_bundle(odd, tmp_path_factory):
    """Untrained, small: one stage whose patch is smaller than the images."""
    bundle = tmp_path_factory.mktemp("bundles") / "odd_one_stage"
    assert create(odd[0], bundle, network="tiny", stages=1, patch_size=[16, 16, 16], workers=1, few_labels=False) == 0
    return shrink(bundle)


@pytest.fixture
def copy_of(tmp_path):
    """A copy of a bundle that the test may change."""

    def copy(bundle: Path, name: str | None = None) -> Path:
        target = tmp_path / (name or bundle.name)
        shutil.copytree(bundle, target)
        return target

    return copy
