"""The data store for a folder: every form of label comes in, nothing is lost, and the files are the truth."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from label_tools import BUNDLES, NAMES, POINTS, RADIUS, SHAPE, answer, balls, box, save, write_json
from landmark_app.lib.core.errors import ClientError
from landmark_app.lib.core.served import record, served
from landmark_app.lib.store.datastore_local import LocalLandmarkDatastore

from auto_config.bundle_scripts.points.fcsv_files import write_fcsv
from auto_config.bundle_scripts.points.landmark_files import read_markups, write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkSet

PATTERNS = ("*.nii.gz", "*.nii", "*.nrrd", "*.mha")
IDS = ("a", "case.1.2", "odd.nii.gz.x", "b.nrrd.c")


def opened(folder):
    return LocalLandmarkDatastore(str(folder), bundles=lambda: BUNDLES, extensions=PATTERNS)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "studies"
    folder.mkdir()
    image = np.zeros(SHAPE, np.int16)
    image[5:20, 5:20, 5:20] = 100
    save(folder / "a.nii.gz", image)
    for name in IDS[1:]:
        shutil.copy(folder / "a.nii.gz", folder / f"{name}.nii.gz")
    return folder


@pytest.fixture
def store(folder):
    return opened(folder)


def serve(store, image_id, points=POINTS, names=NAMES):
    landmarks = [
        {"name": name, "world": point.tolist(), "voxel": [0, 0, 0], "confidence": 0.7, "present": 1, "radius_mm": None}
        for name, point in zip(names, points, strict=True)
    ]
    record(store.landmark_folder(), image_id, "brain", landmarks, RADIUS)


def points_file(path, points=POINTS, status=(PRESENT, PRESENT, PRESENT)):
    landmarks = LandmarkSet(NAMES, points, np.array(status))
    (write_fcsv if path.name.endswith(".fcsv") else write_markups)(path, landmarks)
    return path


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_ids_with_dots_and_endings_inside(store):
    assert sorted(store.list_images()) == sorted(IDS)
    assert all(Path(store.get_image_uri(name)).name == f"{name}.nii.gz" for name in IDS)


@pytest.mark.parametrize("image_id", IDS)
def test_a_label_map_is_kept_beside_the_canonical_label(store, folder, tmp_path, image_id):
    serve(store, image_id)
    upload = save(tmp_path / "up.nrrd", balls())
    assert store.save_label(image_id, str(upload), "final", {"model": "brain"}) == image_id
    path = folder / "labels" / "final" / f"{image_id}.mrk.json"
    assert path == store.canonical_path(image_id, "final")
    np.testing.assert_allclose(read_markups(path).points, POINTS, atol=1e-12)
    shown = Path(store.get_label_uri(image_id, "final"))
    assert shown.name == f"{image_id}.nrrd"
    assert shown.read_bytes() == upload.read_bytes()
    info = store.get_label_info(image_id, "final")
    assert (info["form"], info["name"], info["model"]) == ("label map", f"{image_id}.nrrd", "brain")
    assert info["kept"] == list(NAMES)
    assert info["confidence"] == dict.fromkeys(NAMES, 0.7)
    assert isinstance(info["ts"], int)
    assert store.get_labels_by_image_id(image_id) == {"final": image_id}


@pytest.mark.parametrize("ending", [".nii.gz", ".mrk.json", ".fcsv", ".json"])
def test_the_form_that_was_sent_comes_back_with_its_name(store, tmp_path, ending):
    upload = tmp_path / f"tmp.v1{ending}"
    if ending == ".nii.gz":
        save(upload, balls())
    elif ending == ".json":
        write_json(upload, {"markups": [box(name, point) for name, point in zip(NAMES, POINTS, strict=True)]})
    else:
        points_file(upload)
    store.save_label("case.1.2", str(upload), "final", {})
    shown = Path(store.get_label_uri("case.1.2", "final"))
    assert shown.name == f"case.1.2{ending}"
    assert shown.read_bytes() == upload.read_bytes()
    assert store.canonical("case.1.2", "final").present.all()
    assert store.json()["objects"]["case.1.2"]["labels"]["final"]["ext"] == ending


def test_tags_are_kept_apart(store, tmp_path):
    upload = str(points_file(tmp_path / "x.mrk.json"))
    store.save_label("a", upload, "original", {})
    assert store.get_labeled_images() == []
    assert store.get_labeled_images("original") == ["a"]
    assert sorted(store.get_unlabeled_images("original")) == sorted(IDS[1:])
    store.save_label("case.1.2", upload, "final", {})
    store.save_label("a", upload, "my-tag.2", {})
    assert store.get_labeled_images() == ["case.1.2"]
    assert store.get_label_by_image_id("a", "final") == ""
    assert store.get_label_uri("a", "final") == ""
    status = store.status()
    assert (status["total"], status["completed"]) == (4, 1)
    assert status["label_tags"] == {"original": 1, "final": 1, "my-tag.2": 1}
    (item,) = store.datalist()
    assert item == {
        "image": str(Path(store.get_image_uri("case.1.2")).resolve()),
        "label": str(store.canonical_path("case.1.2", "final").resolve()),
    }
    assert store.datalist(full_path=False)[0]["label"] == "labels/final/case.1.2.mrk.json"


def test_a_new_upload_replaces_the_label_and_loses_nothing(store, tmp_path):
    first = save(tmp_path / "x.nrrd", balls())
    second = points_file(tmp_path / "x.mrk.json", POINTS + 1.0)
    third = points_file(tmp_path / "x.fcsv", POINTS + 2.0)
    for upload in (first, second, third):
        store.save_label("a", str(upload), "final", {})
    np.testing.assert_allclose(store.canonical("a", "final").points, POINTS + 2.0, atol=1e-9)
    history = store.label_files.history("a", "final")
    assert [path.read_bytes() for path in history] == [one.read_bytes() for one in (first, second, third)]


def test_a_restart_finds_everything(store, folder, tmp_path):
    serve(store, "a")
    store.save_label("a", str(save(tmp_path / "x.nrrd", balls())), "final", {"note": 1})
    store.update_image_info("a", {"score": 2})
    again = opened(folder)
    assert again.json()["objects"]["a"]["labels"] == store.json()["objects"]["a"]["labels"]
    assert again.get_image_info("a")["score"] == 2
    assert again.get_label_uri("a", "final") == store.get_label_uri("a", "final")
    # And without MONAI Label's own list: only what is in it alone is lost.
    (folder / "datastore_v2.json").write_text('{"name": "half')
    third = opened(folder)
    assert sorted(third.list_images()) == sorted(IDS)
    assert third.get_label_info("a", "final")["note"] == 1
    assert len(list(folder.glob("datastore_v2.json.broken-*"))) == 1


def test_a_label_placed_or_corrected_by_hand_is_seen(store, tmp_path):
    points_file(store.canonical_path("a", "final"))
    assert store.get_labeled_images() == ["a"]
    assert Path(store.get_label_uri("a", "final")).name == "a.mrk.json"
    store.save_label("case.1.2", str(save(tmp_path / "x.nrrd", balls())), "final", {})
    by_hand = POINTS + [0.0, 0.25, 0.0]
    points_file(store.canonical_path("case.1.2", "final"), by_hand)
    np.testing.assert_allclose(store.canonical("case.1.2", "final").points, by_hand, atol=1e-12)
    shown = Path(store.get_label_uri("case.1.2", "final"))
    assert shown == store.canonical_path("case.1.2", "final")
    # What was made by hand is kept as well when the next upload comes.
    text = shown.read_bytes()
    store.save_label("case.1.2", str(points_file(tmp_path / "y.fcsv")), "final", {})
    assert text in [path.read_bytes() for path in store.label_files.history("case.1.2", "final")]


def test_a_broken_canonical_file_is_reported_and_left_out(store, tmp_path):
    upload = str(points_file(tmp_path / "x.mrk.json"))
    store.save_label("a", upload, "final", {})
    store.save_label("case.1.2", upload, "final", {})
    store.canonical_path("a", "final").write_text('{"markups": [')
    assert [Path(item["image"]).name for item in store.datalist()] == ["case.1.2.nii.gz"]
    assert "a" in store.get_unlabeled_images()
    (problem,) = store.status()["label_problems"].items()
    assert problem[0] == "final/a"
    assert "not valid JSON" in problem[1]
    assert str(tmp_path) not in problem[1]
    store.save_label("a", upload, "final", {})
    assert store.label_problems() == {}


@pytest.mark.parametrize("content", [b"", b"\0" * 99, b'{"markups": [{"type": "Fiducial"'])
def test_a_label_that_is_refused_changes_nothing(store, folder, tmp_path, content):
    store.save_label("a", str(points_file(tmp_path / "x.mrk.json")), "final", {})
    before = files(folder / "labels")
    for ending in (".mrk.json", ".nrrd", ".nii.gz", ".fcsv", ".stl"):
        bad = tmp_path / f"bad{ending}"
        bad.write_bytes(content)
        with pytest.raises(ClientError):
            store.save_label("a", str(bad), "final", {})
    assert files(folder / "labels") == before


def test_unknown_images_and_tags_that_are_none(store, tmp_path):
    upload = str(points_file(tmp_path / "x.mrk.json"))
    for image_id in ("nobody", "../a", ""):
        with pytest.raises(ClientError, match="no image") as caught:
            store.save_label(image_id, upload, "final", {})
        assert caught.value.status == 404
        assert store.get_label_uri(image_id, "final") == ""
    for tag in ("../final", "", "a/b", ".x"):
        with pytest.raises(ClientError, match="tag"):
            store.save_label("a", upload, tag, {})
        assert store.get_label_uri("a", tag) == ""
        assert store.get_label_info("a", tag) == {}


def test_label_info_grows_until_the_next_label(store, tmp_path):
    upload = str(points_file(tmp_path / "x.mrk.json"))
    store.save_label("a", upload, "final", {"label_info": [{"name": "AC"}]})
    store.update_label_info("a", "final", {"sum": 3})
    store.update_label_info("a", "final", {"other": 4})
    info = store.get_label_info("a", "final")
    assert (info["sum"], info["other"], info["label_info"]) == (3, 4, [{"name": "AC"}])
    store.save_label("a", str(points_file(tmp_path / "x.mrk.json", POINTS + 1)), "final", {})
    assert "sum" not in store.get_label_info("a", "final")
    with pytest.raises(ClientError, match="no label"):
        store.update_label_info("b.nrrd.c", "final", {})


def test_a_models_own_label_may_lie_outside_a_persons_may_not(store, tmp_path):
    far = POINTS.copy()
    far[1] += 900
    upload = str(points_file(tmp_path / "x.mrk.json", far))
    store.save_label("a", upload, "original", {"model": "brain"})
    assert store.canonical("a", "original").status.tolist() == [PRESENT, UNKNOWN, PRESENT]
    with pytest.raises(ClientError, match="'PC'"):
        store.save_label("a", upload, "final", {})
    store.save_label("a", upload, "final", {"model": "brain", "params": {"landmarks": []}})
    assert store.canonical("a", "final").status.tolist() == [PRESENT, UNKNOWN, PRESENT]


def test_deleted_balls_are_absent(store, tmp_path):
    serve(store, "a")
    labels = balls()
    labels[labels == 3] = 0
    store.save_label("a", str(save(tmp_path / "x.nrrd", labels)), "final", {})
    assert read_markups(store.canonical_path("a", "final")).status.tolist() == [PRESENT, PRESENT, ABSENT]


class Killed(BaseException):
    """Stands for the end of the process."""


def test_killed_at_any_moment_there_is_the_old_label_or_the_new_one(folder, tmp_path, monkeypatch):
    store = opened(folder)
    old = save(tmp_path / "old.nrrd", balls())
    new = points_file(tmp_path / "new.fcsv", POINTS + 1.0)
    store.save_label("a", str(old), "final", {"which": "old"})
    old_points = store.canonical("a", "final").points
    real = {name: getattr(Path, name) for name in ("replace", "rename", "mkdir", "write_bytes", "write_text")}
    real_copy = shutil.copyfile
    outcomes = []
    for moment in range(60):
        calls = {"left": moment}

        def step(function):
            def counted(*arguments, **keywords):
                calls["left"] -= 1  # noqa: B023  one loop, one counter
                if calls["left"] < 0:  # noqa: B023
                    raise Killed
                return function(*arguments, **keywords)

            return counted

        with monkeypatch.context() as patch:
            for name, function in real.items():
                patch.setattr(Path, name, step(function))
            patch.setattr(shutil, "copyfile", step(real_copy))
            # Nothing of what a process does when it ends in order.
            patch.setattr(shutil, "rmtree", lambda *a, **k: None)
            patch.setattr(Path, "unlink", lambda *a, **k: None)
            try:
                store.save_label("a", str(new), "final", {"which": "new"})
                done = True
            except Killed:
                done = False
        again = opened(folder)
        points, info = again.canonical("a", "final").points, again.get_label_info("a", "final")
        is_new = np.allclose(points, POINTS + 1.0)
        assert is_new or np.array_equal(points, old_points)
        assert info["which"] == ("new" if is_new else "old")
        sent = Path(again.get_label_uri("a", "final"))
        assert sent.read_bytes() == (new if is_new else old).read_bytes()
        assert old.read_bytes() in [path.read_bytes() for path in again.label_files.history("a", "final")]
        outcomes.append((done, bool(is_new)))
        if done:
            break
        if is_new:  # begin anew from the old label
            store.save_label("a", str(old), "final", {"which": "old"})
    assert outcomes[-1] == (True, True)
    assert len(outcomes) > 5
    store.save_label("a", str(old), "final", {})  # clears away what the kills left
    assert not list(folder.glob("labels/final/uploads/a/.*.tmp"))


def test_sixteen_clients_at_once(store, folder, tmp_path):
    uploads = [points_file(tmp_path / f"{k}.mrk.json", POINTS + 0.01 * k) for k in range(16)]

    def one(k):
        store.save_label(IDS[k % 4], str(uploads[k]), "final", {"k": k})
        store.update_image_info(IDS[k % 4], {f"k{k}": k})
        return store.status()["total"]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(one, range(16))) == [4] * 16
    again = opened(folder)
    for index, image_id in enumerate(IDS):
        assert len(again.label_files.history(image_id, "final")) == 4
        k = again.get_label_info(image_id, "final")["k"]
        np.testing.assert_allclose(again.canonical(image_id, "final").points, POINTS + 0.01 * k, atol=1e-12)
        assert {f"k{k}" for k in range(index, 16, 4)} <= again.get_image_info(image_id).keys()


def test_what_another_process_writes_is_kept(store, folder):
    other = opened(folder)
    other.update_image_info("a", {"score": 1})
    store.update_image_info("case.1.2", {"x": 2})
    assert store.get_image_info("a")["score"] == 1
    assert other.get_image_info("case.1.2")["x"] == 2


def test_images_are_taken_whole_or_refused(store, folder, tmp_path):
    good = tmp_path / "new.v1.nii.gz"
    shutil.copy(folder / "a.nii.gz", good)
    assert store.add_image("", str(good), {"who": "me"}) == "new.v1"
    assert store.get_image_info("new.v1")["who"] == "me"
    assert "new.v1" in opened(folder).list_images()
    before = files(folder)
    half = tmp_path / "half.nii.gz"
    half.write_bytes(good.read_bytes()[:-40])
    for path, image_id in [(half, "half"), (tmp_path / "x.txt", "x"), (good, "../x"), (good, "")]:
        if path.suffix == ".txt":
            path.write_text("no image")
        if image_id == "":
            continue
        with pytest.raises(ClientError):
            store.add_image(image_id, str(path), {})
    assert files(folder) == before


def test_an_image_is_not_exchanged_under_its_labels(store, folder, tmp_path):
    other = save(tmp_path / "a.nii.gz", np.ones(SHAPE, np.int16))
    store.save_label("a", str(points_file(tmp_path / "x.mrk.json")), "final", {})
    with pytest.raises(ClientError, match="another image 'a'") as caught:
        store.add_image("a", str(other), {})
    assert caught.value.status == 409
    assert store.add_image("a", str(folder / "a.nii.gz"), {}) == "a"  # the same one
    assert store.canonical("a", "final") is not None


def test_removal(store, folder, tmp_path):
    serve(store, "a")
    for tag in ("final", "original"):
        store.save_label("a", str(points_file(tmp_path / "x.mrk.json")), tag, {})
    store.remove_label("a", "original")
    assert store.get_labels_by_image_id("a") == {"final": "a"}
    store.remove_image("a")
    assert "a" not in store.list_images()
    assert served(store.landmark_folder(), "a") == []
    assert not [name for name in files(folder) if "/a" in f"/{name}" and "case" not in name and "lock" not in name]
    with pytest.raises(ClientError, match="no image"):
        store.remove_image("a")


def test_archive(store, tmp_path):
    with pytest.raises(ClientError, match="no image has a final label"):
        store.get_dataset_archive(None)
    store.save_label("a", str(points_file(tmp_path / "x.mrk.json")), "final", {})
    import zipfile

    names = zipfile.ZipFile(store.get_dataset_archive(None)).namelist()
    assert sorted(names) == ["image/a.nii.gz", "label/a.mrk.json", "metadata.json"]


def test_images_that_come_and_go(store, folder):
    shutil.copy(folder / "a.nii.gz", folder / "new.nii.gz")
    (folder / "case.1.2.nii.gz").unlink()
    (folder / "notes.mrk.json").write_text("{}")
    (folder / ".hidden.nii.gz").write_bytes(b"")
    store.update_image_info("a", {"x": 1})
    store.refresh()
    assert sorted(store.list_images()) == sorted({*IDS, "new"} - {"case.1.2"})
    assert store.get_image_info("a")["x"] == 1


def test_everything_is_json(store, tmp_path):
    store.save_label("a", str(points_file(tmp_path / "x.mrk.json")), "final", {"label_info": [{"name": "AC"}]})
    store.update_image_info("a", {"number": np.float32(0.5).item()})
    assert json.loads(json.dumps(store.json()))["objects"]["a"]["image"]["info"]["number"] == 0.5
    assert answer().model == "brain"
