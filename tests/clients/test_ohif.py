"""An annotator's way in stock OHIF: open a study, find the landmarks, move one by a click, keep it in the PACS."""

import json
import shutil
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

# What `pytest.skip` in conftest.py speaks of; the file is not even looked at without these.
pytest.importorskip("monailabel")
pytest.importorskip("playwright")
pytest.importorskip("dicomweb_client")

from app_tools import NAMES, oblique_affine, start_server, true_world, write_fixed_bundle
from dicom_series import ct_series, right_handed
from dicomweb_client import DICOMwebClient
from parts import only_loopback, orthanc
from viewer import viewer

AXIAL = 0
# Grey values have equal parts of red, green and blue; the labels of the panel do not.
COLOURED = 40
SHAPE = (96, 80, 60)


@dataclass
class Setup:
    """Everything that runs, and the study in it."""

    url: str
    pacs: DICOMwebClient
    folder: Path
    model: str
    image: nib.Nifti1Image
    study: str
    series: str

    def voxels(self, world_ras) -> np.ndarray:
        """(L, 3) voxels of RAS mm."""
        return nib.affines.apply_affine(np.linalg.inv(self.image.affine), world_ras)

    def landmarks(self, model: str) -> dict:
        """The landmarks by name, as the server says them in JSON."""
        query = urllib.parse.urlencode({"image": self.series, "output": "json"})
        request = urllib.request.Request(f"{self.url}/infer/{model}?{query}", data=b"", method="POST")
        with urllib.request.urlopen(request, timeout=600) as answer:
            return {item["name"]: item for item in json.load(answer)["landmarks"]}


def scan(folder: Path | None) -> nib.Nifti1Image:
    """The first image of a folder as whole numbers, or noise with a bright box, oblique and not cubic."""
    if folder is None:
        voxels = np.random.default_rng(0).normal(0, 60, SHAPE)
        voxels[10:-10, 10:-10, 8:-8] += 500
        image = nib.Nifti1Image(voxels.round().astype(np.int16), oblique_affine("las", (0.9, 0.9, 1.6)))
        return right_handed(image)
    files = sorted([*(folder / "images").glob("*.nii.gz"), *folder.glob("*.nii.gz")])
    found = nib.load(files[0])
    voxels = np.clip(np.rint(found.get_fdata()), -32768, 32767).astype(np.int16)
    return right_handed(nib.Nifti1Image(voxels, found.affine))


def served_bundle(folder: Path, bundle: Path | None) -> str:
    """A folder of one bundle; the bundle's name."""
    if bundle is None:
        write_fixed_bundle(folder / "head")
        return "head"
    for part in ("configs", "scripts", "models", "docs"):
        if (bundle / part).is_dir():
            shutil.copytree(bundle / part, folder / "scan" / part, ignore=shutil.ignore_patterns("fold_*", "*.ts"))
    return "scan"


@pytest.fixture(scope="module")
def setup(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("ohif")
    scans, bundle = (request.config.getoption(name) for name in ("--scans", "--bundle"))
    image = scan(Path(scans) if scans else None)
    model = served_bundle(folder / "bundles", Path(bundle) if bundle else None)
    instances = ct_series(image, "TEST-LANDMARKS")
    with only_loopback(), orthanc(folder) as address:
        pacs = DICOMwebClient(address)
        pacs.store_instances(instances)
        environment = {"MONAI_LABEL_DICOMWEB_CACHE_PATH": str(folder / "cache")}
        server = start_server(folder / "bundles", address, folder / "server.log", environment=environment)
        try:
            first = instances[0]
            yield Setup(server.url, pacs, folder, model, image, first.StudyInstanceUID, first.SeriesInstanceUID)
        finally:
            server.stop()


def label_map(body: bytes, folder: Path) -> np.ndarray:
    """(I, J, K) values of the label map that OHIF got, in the order of its buffer."""
    import itk

    path = folder / "answer.nrrd"
    path.write_bytes(body)
    return np.asarray(itk.array_from_image(itk.imread(str(path)))).T


def ball(labels: np.ndarray, value: int) -> np.ndarray:
    """(3,) middle of a ball in voxels."""
    found = np.argwhere(labels == value)
    assert len(found), f"no voxel has the value {value}"
    return found.mean(axis=0)


def colour(picture: np.ndarray, place: tuple[float, float]) -> int:
    """How far from grey the page is at a place."""
    x, y = round(place[0]), round(place[1])
    patch = picture[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3)
    return int(np.median(patch.max(axis=1) - patch.min(axis=1)))


def test_an_annotator_works_in_ohif(setup, tmp_path, request):
    served = setup.landmarks(setup.model)
    names = list(served)
    voxels = {name: np.array(item["voxel"]) for name, item in served.items()}
    world = {name: np.array(item["world"]) for name, item in served.items()}
    # The grid of the series is that of the scan, whatever DICOM and NIfTI made of it on the way.
    expected = setup.voxels(np.array([world[name] for name in names]))
    assert np.abs(expected - np.array([voxels[name] for name in names])).max() < 0.01
    if not request.config.getoption("--bundle"):
        truth = true_world(setup.image.affine, setup.image.shape)
        assert tuple(names) == NAMES
        assert np.abs(truth - np.array(list(world.values()))).max() < 0.01

    lps = {name: point * [-1, -1, 1] for name, point in world.items()}
    with viewer(tmp_path) as ohif:
        ohif.open_study(setup.url, setup.study)
        # A landmark with room around it: its ball is seen, and can be moved.
        name = loneliest(world)
        place = ohif.show(AXIAL, lps[name])
        before = ohif.picture()
        assert colour(before, place) < COLOURED

        ohif.open_section("Auto-Segmentation", setup.model)
        found = ohif.run("Auto-Segmentation")
        assert found.status == 200, found.body
        labels = label_map(found.body, tmp_path)
        assert labels.shape == setup.image.shape
        assert labels.dtype == np.uint8
        for value, one in enumerate(names, start=1):
            if served[one]["present"] and one == name:
                assert np.abs(ball(labels, value) - voxels[one]).max() < 1.0
        # What the server said is what is seen, where it said it.
        place = ohif.show(AXIAL, lps[name])
        assert colour(ohif.picture(), place) > COLOURED

        # A click moves it.
        model = f"{setup.model}_edit"
        ohif.open_section("Point Prompts", model)
        ohif.options(model, save_label=True, label_tag="final")
        target = place[0] + 45, place[1] - 30
        clicked = ohif.world(AXIAL, target) * [-1, -1, 1]
        ohif.click_landmark(name, target)
        moved = ohif.run("Point Prompts")
        assert moved.status == 200, moved.body
        voxel = setup.voxels(clicked)
        assert np.abs(np.array(moved.params[name][0]) - voxel).max() <= 0.51
        labels = label_map(moved.body, tmp_path)
        assert np.abs(ball(labels, names.index(name) + 1) - voxel).max() < 1.5
        ohif.page.keyboard.press("Escape")
        ohif.page.wait_for_timeout(2000)
        after = ohif.picture()
        aside = target[0] + 3, target[1] + 3
        assert colour(after, aside) > COLOURED
        assert colour(after, (place[0] - 2, place[1] + 2)) < COLOURED
        if kept := request.config.getoption("--picture"):
            ohif.page.screenshot(path=kept)
        assert [error for error in ohif.errors if "network" not in error.lower()] == []

    assert_kept(setup, name, clicked, world)


def loneliest(world: dict) -> str:
    """The name of the point that is farthest from all others."""
    names = list(world)
    points = np.array([world[name] for name in names])
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    return names[int(distances.min(axis=1).argmax())]


def assert_kept(setup: Setup, name: str, clicked: np.ndarray, world: dict) -> None:
    """The final label is a landmark file here, and SR and SEG in the PACS; only the clicked landmark has moved."""
    [path] = (setup.folder / "cache").rglob(f"labels/final/{setup.series}.mrk.json")
    points = {
        point["label"]: np.array(point["position"]) * [-1, -1, 1]
        for markup in json.loads(path.read_text())["markups"]
        for point in markup["controlPoints"]
    }
    spacing = np.linalg.norm(setup.image.affine[:3, :3], axis=0)
    # A click is rounded to a voxel by OHIF.
    assert np.linalg.norm(points[name] - clicked) <= np.linalg.norm(spacing) / 2 + 1e-3
    for other in set(world) - {name}:
        assert np.linalg.norm(points[other] - world[other]) < 0.01
    found = setup.pacs.search_for_series(study_instance_uid=setup.study)
    kinds = sorted(series["00080060"]["Value"][0] for series in found)
    assert kinds == ["CT", "SEG", "SR"]
