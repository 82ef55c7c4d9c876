"""An annotator's way in stock OHIF: open a study, find the landmarks, move one by a click, keep it in the PACS."""

import json
import shutil
import urllib.error
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

from app_tools import NAMES, START_SECONDS, oblique_affine, start_server, true_world, write_fixed_bundle
from dicom_series import ct_series, right_handed
from dicomweb_client import DICOMwebClient
from landmark_app.lib.store.datastore import DicomLandmarkDatastore
from pacs_objects import report_points, segment_middles
from parts import only_loopback, orthanc, wait_until
from PIL import Image
from viewer import viewer

RAS_LPS = np.array([-1.0, -1.0, 1.0])
AXIAL = 0
PLANES = (0, 1, 2)
# Grey values have equal parts of red, green and blue; balls do not.
COLOURED = 40
# Half the width of what is looked at on the page, wider than a ball; and how well a ball is in its place.
AROUND, CLOSE = 24, 5.0
# A bundle that was trained finds landmarks like these on average.
FOUND_VOXELS = 3.0
TOKEN = "a" * 24
SHAPE = (96, 80, 60)


@dataclass
class Setup:
    """Everything that runs, and the study in it."""

    url: str
    pacs: DICOMwebClient
    folder: Path
    model: str
    image: nib.Nifti1Image
    truth: dict[str, np.ndarray]
    study: str
    series: str

    @property
    def spacing(self) -> np.ndarray:
        """(3,) mm."""
        return np.linalg.norm(self.image.affine[:3, :3], axis=0)

    def voxels(self, world_ras) -> np.ndarray:
        """(L, 3) voxels of RAS mm."""
        return nib.affines.apply_affine(np.linalg.inv(self.image.affine), world_ras)

    def landmarks(self, model: str) -> dict:
        """The landmarks by name, as the server says them in JSON."""
        query = urllib.parse.urlencode({"image": self.series, "output": "json"})
        request = urllib.request.Request(f"{self.url}/infer/{model}?{query}", data=b"", method="POST")
        with urllib.request.urlopen(request, timeout=600) as answer:
            return {item["name"]: item for item in json.load(answer)["landmarks"]}


def scan(folder: Path | None) -> tuple[nib.Nifti1Image, dict[str, np.ndarray]]:
    """The first image of a folder as whole numbers, and its points, RAS mm; or noise with a bright box, oblique."""
    if folder is None:
        voxels = np.random.default_rng(0).normal(0, 60, SHAPE)
        voxels[10:-10, 10:-10, 8:-8] += 500
        image = nib.Nifti1Image(voxels.round().astype(np.int16), oblique_affine("las", (0.9, 0.9, 1.6)))
        truth = true_world(image.affine, image.shape)
        return right_handed(image), dict(zip(NAMES, truth, strict=True))
    path = min((folder / "images").glob("*.nii.gz"))
    found = nib.load(path)
    voxels = np.clip(np.rint(found.get_fdata()), -32768, 32767).astype(np.int16)
    truth = markups(folder / "landmarks" / path.name.replace(".nii.gz", ".mrk.json"))
    return right_handed(nib.Nifti1Image(voxels, found.affine)), truth


def markups(path: Path) -> dict[str, np.ndarray]:
    """(3,) RAS mm by name of the points in a file of 3D Slicer."""
    return {
        point["label"]: np.array(point["position"]) * RAS_LPS
        for markup in json.loads(path.read_text())["markups"]
        for point in markup["controlPoints"]
    }


def served_bundle(folder: Path, bundle: Path | None) -> str:
    """A folder of one bundle; the bundle's name."""
    if bundle is None:
        return write_fixed_bundle(folder / "head").name
    needless = shutil.ignore_patterns("cache", "eval", "latest.pt", "*.ts", "__pycache__")
    return shutil.copytree(bundle, folder / bundle.resolve().name, ignore=needless).name


@pytest.fixture(scope="module")
def setup(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("ohif")
    scans, bundle = (request.config.getoption(name) for name in ("--scans", "--bundle"))
    image, truth = scan(Path(scans) if scans else None)
    model = served_bundle(folder / "bundles", Path(bundle) if bundle else None)
    instances = ct_series(image, "TEST-LANDMARKS")
    with only_loopback(), orthanc(folder) as address:
        pacs = DICOMwebClient(address)
        pacs.store_instances(instances)
        environment = {"MONAI_LABEL_DICOMWEB_CACHE_PATH": str(folder / "cache")}
        server = start_server(folder / "bundles", address, folder / "server.log", environment=environment)
        try:
            first = instances[0]
            study, series = str(first.StudyInstanceUID), str(first.SeriesInstanceUID)
            yield Setup(server.url, pacs, folder, model, image, truth, study, series)
        finally:
            server.stop()


def label_map(body: bytes, folder: Path) -> np.ndarray:
    """(I, J, K) values of the label map that OHIF got, in the order of its buffer."""
    import itk

    path = folder / "answer.nrrd"
    path.write_bytes(body)
    return np.asarray(itk.array_from_image(itk.imread(str(path)))).T


def ball(labels: np.ndarray, value: int) -> np.ndarray:
    """(n, 3) voxels of a ball."""
    found = np.argwhere(labels == value)
    assert len(found), f"no voxel has the value {value}"
    return found


def seen(picture: np.ndarray, place: tuple[float, float]) -> tuple[float, float] | None:
    """Middle of what is coloured around a place on the page; None where all is grey."""
    left, top = round(place[0]) - AROUND, round(place[1]) - AROUND
    patch = picture[top : top + 2 * AROUND + 1, left : left + 2 * AROUND + 1]
    rows, columns = np.nonzero(patch.max(axis=2) - patch.min(axis=2) > COLOURED)
    return (left + columns.mean(), top + rows.mean()) if len(rows) else None


def loneliest(world: dict) -> str:
    """The name of the point that is farthest from all others."""
    names = list(world)
    points = np.array([world[name] for name in names])
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    return names[int(distances.min(axis=1).argmax())]


def test_an_annotator_works_in_ohif(setup, tmp_path, request):
    pictures = request.config.getoption("--pictures")
    landmarks = setup.landmarks(setup.model)
    values = {name: value for value, name in enumerate(landmarks, start=1)}
    served = {name: item for name, item in landmarks.items() if item["present"]}
    voxels = {name: np.array(item["voxel"]) for name, item in served.items()}
    world = {name: np.array(item["world"]) for name, item in served.items()}
    # The grid of the series is that of the scan, whatever DICOM and NIfTI made of it on the way.
    for name in served:
        np.testing.assert_allclose(setup.voxels(world[name]), voxels[name], atol=0.01)
    errors = [np.linalg.norm(world[name] - point) for name, point in setup.truth.items() if name in world]
    assert len(errors) > 0.8 * len(setup.truth)
    assert np.mean(errors) < (FOUND_VOXELS * setup.spacing.max() if request.config.getoption("--bundle") else 0.01)

    # A landmark with room around it: its ball is seen, and can be moved.
    name = loneliest(world)
    with viewer(tmp_path) as ohif:
        ohif.open_study(setup.url, setup.study)
        place = ohif.show(AXIAL, world[name] * RAS_LPS)
        assert seen(ohif.picture(), place) is None

        ohif.open_section("Auto-Segmentation", setup.model)
        found = ohif.run("Auto-Segmentation")
        assert found.status == 200, found.body
        labels = label_map(found.body, tmp_path)
        assert labels.shape == setup.image.shape
        assert labels.dtype == np.uint8
        for one in served:
            assert np.abs(ball(labels, values[one]) - voxels[one]).max(axis=1).min() <= 1
        # What the server said is what is seen, where it said it.
        place = ohif.show(AXIAL, world[name] * RAS_LPS)
        assert np.linalg.norm(np.subtract(seen(ohif.picture(), place), place)) < CLOSE

        # A click moves it.
        model = f"{setup.model}_edit"
        ohif.open_section("Point Prompts", model)
        ohif.options(model, save_label=True, label_tag="final")
        target = place[0] + 45, place[1] - 30
        clicked = ohif.world(AXIAL, target) * RAS_LPS
        ohif.click_landmark(name, target)
        moved = ohif.run("Point Prompts")
        assert moved.status == 200, moved.body
        voxel = setup.voxels(clicked)
        assert np.abs(np.array(moved.params[name][0]) - voxel).max() <= 0.51
        labels = label_map(moved.body, tmp_path)
        assert np.abs(ball(labels, values[name]).mean(axis=0) - voxel).max() < 1
        after = ohif.picture()
        assert np.linalg.norm(np.subtract(seen(after, target), target)) < CLOSE
        assert seen(after, place) is None
        for plane in PLANES:
            ohif.show(plane, clicked * RAS_LPS)
        keep(ohif.picture(), pictures, "ohif.png")

        # What the PACS keeps is shown by the ordinary viewer.
        assert sorted(ohif.open_segmentation(setup.url, setup.study)) == sorted(served)
        middle = nib.affines.apply_affine(setup.image.affine, moved.params[name][0])
        place = ohif.show_in_stack(middle * RAS_LPS)
        after = ohif.picture()
        keep(after, pictures, "ohif_seg.png")
        assert np.linalg.norm(np.subtract(seen(after, place), place)) < CLOSE
        assert ohif.errors == []

    assert_kept(setup, name, clicked, world)
    assert_found_again(setup, tuple(values), tmp_path)


def test_ohif_works_for_those_who_sign_in(setup, tmp_path):
    tokens = tmp_path / "tokens.txt"
    tokens.write_text(f"anna annotate {TOKEN}\n")
    tokens.chmod(0o600)
    environment = {"MONAI_LABEL_DICOMWEB_CACHE_PATH": str(tmp_path / "cache")}
    options = ("--tokens", str(tokens))
    log = tmp_path / "server.log"
    server = start_server(
        setup.folder / "bundles", setup.pacs.base_url, log, *options, environment=environment, wait=False
    )
    try:
        wait_until(f"{server.url}/info/", START_SECONDS)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{server.url}/ohif/", timeout=60)
        with viewer(tmp_path, {"username": "anna", "password": TOKEN}) as ohif:
            ohif.open_study(server.url, setup.study)
            ohif.open_section("Auto-Segmentation", setup.model)
            found = ohif.run("Auto-Segmentation")
            assert found.status == 200, found.body
            assert label_map(found.body, tmp_path).any()
            assert ohif.errors == []
    finally:
        server.stop()


def keep(picture: np.ndarray, folder: str | None, name: str) -> None:
    """Write a picture, if there is a folder for it."""
    if folder:
        Image.fromarray(picture.astype(np.uint8)).save(Path(folder) / name, optimize=True)


def assert_kept(setup: Setup, name: str, clicked: np.ndarray, world: dict) -> None:
    """The final label is a landmark file here, and SR and SEG in the PACS; only the clicked landmark has moved."""
    [path] = (setup.folder / "cache").rglob(f"labels/final/{setup.series}.mrk.json")
    points = markups(path)
    # A click is rounded to a voxel by OHIF.
    voxel_mm = np.linalg.norm(setup.spacing)
    assert np.linalg.norm(points[name] - clicked) <= voxel_mm / 2 + 1e-3
    for other in set(world) - {name}:
        assert np.linalg.norm(points[other] - world[other]) < 0.01

    found = setup.pacs.search_for_series(study_instance_uid=setup.study)
    series = {one["00080060"]["Value"][0]: one["0020000E"]["Value"][0] for one in found}
    assert sorted(series) == ["CT", "SEG", "SR"]
    assert len(found) == 3
    [report] = setup.pacs.retrieve_series(setup.study, series["SR"])
    [segmentation] = setup.pacs.retrieve_series(setup.study, series["SEG"])
    reported, middles = report_points(report), segment_middles(segmentation)
    assert set(reported) == set(middles) == set(world)
    for one in world:
        np.testing.assert_allclose(reported[one] * RAS_LPS, points[one], atol=1e-3)
        # Balls that overlap share their voxels.
        assert np.linalg.norm(middles[one] * RAS_LPS - points[one]) < (voxel_mm if one == name else 3 * voxel_mm)


def assert_found_again(setup: Setup, names: tuple[str, ...], folder: Path) -> None:
    """A server with an empty cache finds the label in the PACS."""
    first, second = (
        DicomLandmarkDatastore(
            setup.pacs, {"Modality": "CT"}, bundles=lambda: {setup.model: names}, cache_path=str(cache)
        ).canonical(setup.series, "final")
        for cache in (setup.folder / "cache", folder / "cache")
    )
    assert set(second.names) == set(first.names) == set(names)
    for name in names:
        a, b = (label.points[label.names.index(name)] for label in (first, second))
        np.testing.assert_allclose(a, b, atol=1e-3)
