"""The data store for a DICOMweb server, against one in memory: labels are kept here and written there."""

from pathlib import Path

import numpy as np
import pytest
from ct_series import SLICES, MemoryPacs, make_series, ras
from label_tools import write_json
from landmark_app.lib.core.errors import ClientError
from landmark_app.lib.core.served import record
from landmark_app.lib.dicom.dicom_objects import read_report
from landmark_app.lib.store.datastore import DicomLandmarkDatastore

from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT

NAMES = ("AC", "PC", "Left eye")
POINTS = {"AC": ras(5.3, 6.7, 4.1), "PC": ras(15.25, 10.5, 8.75)}


@pytest.fixture
def pacs():
    return MemoryPacs(*make_series())


@pytest.fixture
def uid(pacs):
    return str(pacs.instances[0].SeriesInstanceUID)


def opened(pacs, folder):
    return DicomLandmarkDatastore(
        pacs, {"Modality": "CT"}, bundles=lambda: {"brain": NAMES}, cache_path=str(folder / "cache")
    )


@pytest.fixture
def store(pacs, tmp_path):
    return opened(pacs, tmp_path)


def label(path, points=POINTS, **more):
    return str(write_json(path / "x.json", {name: list(point) for name, point in points.items()} | more))


def test_images_are_fetched_whole(store, pacs, uid):
    assert store.list_images() == [uid]
    path = Path(store.get_image_uri(uid))
    assert path.name == f"{uid}.nii.gz"
    grid = store.image_grid(uid)
    np.testing.assert_allclose(grid.affine[:3] @ [3, 4, 5, 1.0], ras(3, 4, 5), atol=1e-3)
    assert len(list(store.series_folder(uid).iterdir())) == SLICES
    assert store.get_image_info(uid)["PatientID"] == "p1"
    pacs.fail = ConnectionError()
    assert store.get_image_uri(uid) == str(path)


def test_a_download_that_breaks_off_leaves_nothing(store, pacs, uid):
    real = pacs.retrieve_series

    def half(study, series):
        yield from real(study, series)[:3]
        raise ConnectionError

    pacs.retrieve_series = half
    with pytest.raises(ConnectionError):
        store.get_image_uri(uid)
    pacs.retrieve_series = real
    store.get_image_uri(uid)
    assert len(list(store.series_folder(uid).iterdir())) == SLICES


@pytest.mark.parametrize("tag", ["original", "final"])
def test_final_labels_go_to_the_server_others_do_not(store, pacs, uid, tmp_path, tag):
    record(
        store.landmark_folder(),
        uid,
        "brain",
        [
            {"name": n, "world": p.tolist(), "confidence": 0.8, "present": 1, "radius_mm": 2.5}
            for n, p in POINTS.items()
        ],
        4.0,
        verdict="check",
    )
    store.save_label(uid, label(tmp_path, **{"Left eye": "absent"}), tag, {})
    assert store.get_label_info(uid, tag)["verdict"] == dict.fromkeys(POINTS, "check")
    assert store.canonical(uid, tag).status.tolist() == [PRESENT, PRESENT, ABSENT]
    assert store.get_labeled_images(tag) == [uid]
    assert Path(store.get_label_uri(uid, tag)).name == f"{uid}.json"
    if tag == "original":
        assert pacs.of("SR") == pacs.of("SEG") == []
        return
    (report,), (balls,) = pacs.of("SR"), pacs.of("SEG")
    back = read_report(report)
    assert back.series == uid
    ordered = back.landmarks.ordered(NAMES)
    assert ordered.status.tolist() == [PRESENT, PRESENT, ABSENT]
    np.testing.assert_allclose(ordered.points[:2], list(POINTS.values()), atol=1e-3)
    assert back.confidence == pytest.approx(dict.fromkeys(POINTS, 0.8))
    assert back.radius_mm == pytest.approx(dict.fromkeys(POINTS, 2.5))
    assert back.verdict == dict.fromkeys(POINTS, "check")
    assert balls.SeriesDescription == "Landmarks (balls), case to check"
    assert [one.SegmentLabel for one in balls.SegmentSequence] == ["AC", "PC"]
    assert store.get_label_info(uid, tag)["dicom"] == {"SR": report.SeriesInstanceUID, "SEG": balls.SeriesInstanceUID}
    (item,) = store.datalist()
    assert item["image"] == store.get_image_uri(uid)
    assert item["label"] == str(store.canonical_path(uid, "final").resolve())


def test_labels_are_found_again(store, pacs, uid, tmp_path):
    store.save_label(uid, label(tmp_path, {"AC": POINTS["PC"]}), "final", {})
    store.save_label(uid, label(tmp_path), "final", {})
    pacs.of("SR")[0].ContentDate = "20200101"
    again = opened(pacs, tmp_path)
    assert again.canonical(uid, "final") == store.canonical(uid, "final")
    other = tmp_path / "other"  # an empty cache; the first one is still being watched
    third = opened(pacs, other)
    assert third.get_labeled_images() == [uid]
    landmarks = third.canonical(uid, "final").ordered(NAMES)
    np.testing.assert_allclose(landmarks.points[:2], list(POINTS.values()), atol=1e-3)
    assert third.get_label_info(uid, "final")["form"] == "report"
    assert third.json()["objects"][uid]["labels"]["final"]["ext"] == ".mrk.json"
    assert Path(third.datalist()[0]["image"]).is_file()


def test_a_damaged_or_foreign_report_is_left_out(store, pacs, uid, tmp_path):
    store.save_label(uid, label(tmp_path), "final", {})
    foreign = make_series()[0]
    foreign.Modality, foreign.SeriesDescription = "SR", "Landmarks"
    pacs.instances.append(foreign)
    del pacs.of("SR")[0].ContentSequence
    other = tmp_path / "other"  # an empty cache; the first one is still being watched
    assert opened(pacs, other).get_labeled_images() == []


def test_a_server_that_does_not_answer_costs_no_label(store, pacs, uid, tmp_path):
    store.get_image_uri(uid)
    pacs.fail = ConnectionError("secret.host:8042 refused")
    with pytest.raises(ClientError, match="is stored here") as caught:
        store.save_label(uid, label(tmp_path), "final", {})
    assert caught.value.status == 502
    assert "secret" not in caught.value.message
    assert store.canonical(uid, "final").present.tolist() == [True, True, False]
    assert "error" in store.get_label_info(uid, "final")["dicom"]
    again = opened(pacs, tmp_path)  # starts
    with pytest.raises(ClientError, match="does not answer") as caught:
        again.list_images()
    assert caught.value.status == 502
    pacs.fail = None
    assert again.list_images() == [uid]
    store.save_label(uid, label(tmp_path), "final", {})
    assert len(pacs.of("SR")) == 1


def test_new_series_are_found_and_others_refused(store, pacs, tmp_path):
    new = make_series()
    store.list_images()
    pacs.store_instances(new)
    store.save_label(str(new[0].SeriesInstanceUID), label(tmp_path), "original", {})
    with pytest.raises(ClientError, match="no image") as caught:
        store.save_label("1.2.3", label(tmp_path), "final", {})
    assert caught.value.status == 404
    for refused in (lambda: store.add_image("x", "x.nii.gz", {}), lambda: store.remove_image("x")):
        with pytest.raises(ClientError, match="DICOM server"):
            refused()


def test_scores_reach_an_image_that_is_not_in_the_cache(store, uid):
    store.update_image_info(uid, {"score": 1})
    assert store.get_image_info(uid)["score"] == 1
