"""A disk without space, as a limit on the size of files: clear errors, and what was there is still there, whole."""

import contextlib
import json

import numpy as np
import pytest
from label_tools import BUNDLES, POINTS, SHAPE, balls, save
from landmark_app.lib.server.sessions import BoundedSessions
from landmark_app.lib.store.datastore_local import LocalLandmarkDatastore
from monailabel.utils.sessions import Sessions
from tiny_app import tiny_servers

resource = pytest.importorskip("resource")


@contextlib.contextmanager
def files_of_at_most(size):
    """No file of this process may grow beyond a size; Python makes an OSError of it, as of a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def content(folder):
    locks = {".lock"}
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name not in locks}


@pytest.fixture
def noise(tmp_path):
    values = np.random.default_rng(0).integers(0, 1000, (30, 30, 30)).astype(np.int16)
    return save(tmp_path / "noise.nii.gz", values)


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "studies"
    folder.mkdir()
    save(folder / "a.nii.gz", np.full(SHAPE, 100, np.int16))
    return LocalLandmarkDatastore(str(folder), bundles=lambda: BUNDLES, extensions=("*.nii.gz",))


def changes(store, noise, tmp_path):
    label = save(tmp_path / "x.nrrd", balls(POINTS + 1.0))
    return {
        "image": (8000, lambda: store.add_image("new", str(noise), {})),
        "index": (50, lambda: store.update_image_info("a", {"note": 2})),
        "index of a new image": (50, lambda: store.add_image("new", str(tmp_path / "studies/a.nii.gz"), {})),
        "label": (50, lambda: store.save_label("a", str(label), "final", {})),
        "info of a label": (20, lambda: store.update_label_info("a", "final", {"note": 2})),
    }


@pytest.mark.parametrize("what", ["image", "index", "index of a new image", "label", "info of a label"])
def test_nothing_is_half_written(store, noise, tmp_path, what):
    folder = tmp_path / "studies"
    store.update_image_info("a", {"note": 1})
    store.save_label("a", str(save(tmp_path / "first.nrrd", balls())), "final", {"note": 1})
    limit, change = changes(store, noise, tmp_path)[what]
    before = content(folder)
    with files_of_at_most(limit), pytest.raises(OSError):
        change()
    after = content(folder)
    images = {path: after[path] for path in after if path not in before}
    assert {path: after[path] for path in before} == before
    # An image whose file is whole, and that the list does not have yet, is found at the next start.
    assert all(path.name == "new.nii.gz" and what == "index of a new image" for path in images)
    assert store.get_image_info("a")["note"] == store.get_label_info("a", "final")["note"] == 1
    change()


def test_a_session_is_whole_or_not_there(noise, tmp_path):
    sessions = Sessions(str(tmp_path / "sessions"))
    with files_of_at_most(20), pytest.raises(OSError):
        BoundedSessions(5, 5, 10**9).add(sessions, noise, account="anna")
    assert list((tmp_path / "sessions").iterdir()) == []


def test_clients_learn_that_the_disk_is_full(noise, tmp_path):
    with tiny_servers(tmp_path / "servers") as servers:
        assert servers.ours.get("/info/").status_code == 200
        before = content(servers.studies)
        files = {"file": ("x.nii.gz", noise.read_bytes())}
        asked = [
            lambda: servers.ours.put("/datastore/image?image=new", files=files),
            lambda: servers.ours.put("/session/", files={"files": files["file"]}),
            lambda: servers.ours.post("/infer/slow", files=files, data={"params": json.dumps({"seconds": 0})}),
        ]
        for ask in asked:
            with files_of_at_most(8000):
                answer = ask()
            assert (answer.status_code, "full" in answer.json()["error"]) == (507, True)
        assert content(servers.studies) == before
        assert servers.ours.get("/info/").status_code == 200


def test_what_a_kill_left_is_removed_at_the_next_start(store, tmp_path):
    folder = tmp_path / "studies"
    left = [folder / f".{'0' * 32}.tmp", folder / ".datastore_v2.json.ab_12x.tmp"]
    other = folder / ".somebody.tmp"
    for path in (*left, other):
        path.write_bytes(b"half")
    LocalLandmarkDatastore(str(folder), bundles=lambda: BUNDLES, extensions=("*.nii.gz",))
    assert [path.exists() for path in (*left, other)] == [False, False, True]
