"""Tests of the MONAI Label app: run where MONAI Label is installed (``make test`` makes an environment for them)."""

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "apps"))
sys.path += [str(Path(__file__).parents[2] / "plugins/slicer/LandmarkBundles")]
HAS_MONAI_LABEL = importlib.util.find_spec("monailabel") is not None
# One file stays: it says why the others are not there.
collect_ignore = (
    []
    if HAS_MONAI_LABEL
    else [str(p) for p in Path(__file__).parent.rglob("test_*.py") if p.name != "test_label_environment.py"]
)

if HAS_MONAI_LABEL:
    from app_tools import NAMES, POINTS, numbered, oblique_affine, start_server, write_fixed_bundle, write_volume


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """Folder with bundles that find the points of `app_tools`; do not change it, see `own_bundles`.

    ``head``: four landmarks with odd names. ``Jaw.2``: two other ones, another version with other code. ``new``: no
    weights.
    """
    folder = tmp_path_factory.mktemp("served_bundles")
    write_fixed_bundle(folder / "head")
    write_fixed_bundle(folder / "Jaw.2", POINTS[2:], ("gnathion", "AC"), version="2.0.0", logit=1.0)
    write_fixed_bundle(folder / "new", None, NAMES[:2])
    return folder


@pytest.fixture
def own_bundles(bundles, tmp_path):
    """A copy of `bundles` that the test may change."""
    import shutil

    return Path(shutil.copytree(bundles, tmp_path / "own_bundles"))


@pytest.fixture(scope="session")
def make_studies(tmp_path_factory):
    """Makes a folder of three small images: oblique PIR (.nii.gz), oblique LAS (.nrrd), RAS (.mha)."""

    def make() -> Path:
        folder = tmp_path_factory.mktemp("studies")
        write_volume(folder / "pir.nii.gz", oblique_affine("pir"))
        write_volume(folder / "las.nrrd", oblique_affine("las", (0.8, 1.0, 3.0)), seed=1)
        write_volume(folder / "ras.mha", oblique_affine("ras", (1.5, 1.5, 1.5), 0.0), seed=2)
        return folder

    return make


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Starts servers that end with the module: ``server(bundles, studies, "--option", "value", ...)``."""
    folder = tmp_path_factory.mktemp("servers")
    running = []

    def start(bundles, studies, *options, **keywords):
        running.append(start_server(bundles, studies, numbered(folder, "server.log"), *options, **keywords))
        return running[-1]

    yield start
    for one in running:
        one.stop()
