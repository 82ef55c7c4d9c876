"""From no labels to better weights through the plugin's own client; the server is killed on the way. Takes a minute."""

import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
import torch
from blob_world import NAMES, make_blob_world, mean_error
from landmark_app.lib.training.training_stats import training_stats
from LandmarkBundlesLib.landmarks import DEFINED, MISSING, Landmark
from LandmarkBundlesLib.logic import LandmarkServer, Sample, ServerError, describe
from monailabel.client import MONAILabelClient
from monailabel.client.client import MONAILabelClientException

from auto_config.bundle_scripts.points.landmark_files import read_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT
from auto_config.bundle_scripts.points.shape import ShapeModel

pytestmark = pytest.mark.slow
TRAINING_SECONDS = 600
# Clients of a busy server wait; nothing here depends on how long.
OPTIONS = {"device": "cpu", "val_split": 0.34}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_blob_world(tmp_path_factory.mktemp("blob_world"))


@pytest.fixture(scope="module")
def running(server, world):
    """The server; a test that kills it puts another one in its place."""
    return {"server": server(world.bundles, world.studies)}


@pytest.fixture
def client(running, tmp_path):
    return MONAILabelClient(running["server"].url, tmpdir=str(tmp_path), client_id="tester")


def wait_until(condition, what):
    deadline = time.monotonic() + TRAINING_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
    return found


def finished(client):
    """The training's last status, once it does not run any more."""

    def ended():
        status = client.train_status()
        return status if status["status"] not in ("SUBMITTED", "RUNNING") else None

    return wait_until(ended, "the training does not end")


def epochs_done(world, count):
    stats = training_stats(world.root)
    return stats.get("state") == "running" and stats["epoch"] >= count


def canonical(world, image, tag="final"):
    return read_markups(world.studies / "labels" / tag / f"{image}.mrk.json").ordered(NAMES).points


def found_by(client, image):
    _, params = client.infer("head", image, {})
    return {item["name"]: item for item in params["landmarks"]}


def loads(world):
    """Every file of weights is whole."""
    files = list((world.root / "models").rglob("*.pt"))
    return bool(files) and all(torch.load(path, weights_only=True) for path in files)


def shape_in_use(world):
    """The mean shape (L, 3) in the weights: that of the labels that the training read."""
    return torch.load(world.root / "models" / "model.pt", weights_only=True)["shape.mean"].numpy()


def shape_of_labels(world):
    """The mean shape (L, 3) of the labels that are trained on, as they are now; lps1 is held out."""
    shape = ShapeModel(len(NAMES), 3)
    shape.fit(np.stack([canonical(world, image) for image in ("plain0", "pir2")]))
    return shape.mean.numpy()


def processes_of(world):
    return [p for p in psutil.process_iter(["cmdline"]) if str(world.root) in " ".join(p.info["cmdline"] or [])]


def test_nothing_is_known_at_first(client, world):
    info = client.info()
    assert set(info["models"]) == {"head", "head_edit", "head_points"}
    assert info["train_stats"] == {"head": {}}
    assert info["trainers"]["head"]["config"]["pretrained"] is True
    assert client.next_sample("first", {})["id"] in world.truth
    with pytest.raises(MONAILabelClientException) as refused:
        client.infer("head", "plain0", {})
    assert "Status: 409" in refused.value.msg
    assert "has no weights yet" in refused.value.msg


def test_labels_of_three_forms_are_kept(client, world):
    client.save_label("plain0", str(world.fiducials("plain0")), tag="final")
    client.save_label("lps1", str(world.boxes("lps1")), tag="final")
    names = [{"name": name, "idx": value} for value, name in enumerate(NAMES, start=1)]
    client.save_label("pir2", str(world.label_map("pir2")), tag="final", params={"label_info": names})
    for image, tolerance in (("plain0", 1e-6), ("lps1", 1e-6), ("pir2", 1.8)):
        assert np.abs(canonical(world, image) - world.truth[image]).max() < tolerance
    assert client.next_sample("first", {}) == {}


def test_a_training_from_scratch_is_watched_and_stopped(client, world):
    client.train_start("head", {**OPTIONS, "pretrained": False, "max_epochs": 5000})
    wait_until(lambda: epochs_done(world, 2), "no epoch is trained")
    status = client.train_status()
    assert status["status"] == "RUNNING"
    stats = status["stats"]
    assert (stats["state"], stats["max_epochs"]) == ("running", 5000)
    assert (stats["training_cases"], stats["validation_cases"]) == (2, 1)
    assert stats["loss"] > 0
    assert stats["mre_mm"] >= stats["best_mre_mm"] > 0
    assert stats["seconds_left"] > 0
    assert client.info()["train_stats"]["head"]["state"] == "running"
    with pytest.raises(MONAILabelClientException):
        client.train_start("head", OPTIONS)
    assert client.train_stop()["status"] == "STOPPED"
    wait_until(lambda: not processes_of(world), "the training still runs")
    assert client.info()["train_stats"]["head"]["state"] == "stopped"
    assert loads(world)
    assert set(found_by(client, "plain0")) == set(NAMES)


def test_a_killed_server_loses_nothing(client, world, running, server):
    sent = []

    def annotate():
        rng = np.random.default_rng(0)
        while True:
            points = world.truth["plain0"] + rng.uniform(-1, 1, (4, 3))
            sent.append(points)
            try:
                client.save_label("plain0", str(world.fiducials("plain0", points)), tag="second")
            except Exception:
                return
            answered.append(len(sent))

    answered = []
    client.train_start("head", {**OPTIONS, "max_epochs": 5000})
    wait_until(lambda: epochs_done(world, 1), "no epoch is trained")
    annotator = threading.Thread(target=annotate)
    annotator.start()
    wait_until(lambda: len(answered) > 3, "no label is saved")
    # All but the training, which has to end by itself.
    own = psutil.Process(running["server"].process.pid)
    family = [(process, " ".join(process.cmdline())) for process in [own, *own.children(recursive=True)]]
    trains = ("monailabel.interfaces.utils.app", str(world.root))
    for process, line in family:
        if not any(part in line for part in trains):
            process.kill()
    annotator.join()
    wait_until(lambda: not processes_of(world), "the training goes on without a server")
    assert loads(world)
    running["server"] = server(world.bundles, world.studies)
    again = MONAILabelClient(running["server"].url)
    info = again.info()
    assert info["datastore"]["completed"] == 3
    assert info["train_stats"]["head"]["state"] == "stopped"
    for image in ("plain0", "lps1"):
        assert np.allclose(canonical(world, image), world.truth[image], atol=1e-6)
    # The label whose answer came last is there, or the one that was being sent.
    kept = canonical(world, "plain0", "second")
    assert any(np.allclose(kept, points, atol=1e-6) for points in sent[answered[-1] - 1 :])
    assert set(found_by(again, "plain0")) == set(NAMES)


def test_training_goes_on_from_there_and_gets_better(client, world):
    assert np.allclose(shape_in_use(world), shape_of_labels(world), atol=1e-6)
    # An expert corrects the label of an image that is trained on.
    corrected = world.truth["plain0"] + [[0, 0, 0.5], [0, 0, 0], [0, 0.8, 0], [0, 0, 0]]
    client.save_label("plain0", str(world.fiducials("plain0", corrected)), tag="final")
    assert not np.allclose(shape_in_use(world), shape_of_labels(world), atol=1e-3)
    before = np.mean([mean_error(found_by(client, image), truth) for image, truth in world.truth.items()])
    judged = training_stats(world.root)["best_mre_mm"]
    client.train_start("head", {**OPTIONS, "max_epochs": 15})
    status = finished(client)
    assert status["status"] == "DONE", status
    stats = status["stats"]
    assert (stats["state"], stats["epoch"], stats["replaced"]) == ("done", 15, True)
    # It began with the weights in use; a kill can come between better weights and their line in the progress.
    assert stats["before_mre_mm"] <= judged + 0.01
    assert stats["best_mre_mm"] < stats["before_mre_mm"]
    assert stats["calibration"] == "none: 3 unseen cases that judged are needed, there are 1"
    after = np.mean([mean_error(found_by(client, image), truth) for image, truth in world.truth.items()])
    assert after < before
    assert np.allclose(shape_in_use(world), shape_of_labels(world), atol=1e-6)


def test_the_module_for_slicer(running, world, tmp_path):
    server = LandmarkServer(running["server"].url)
    (bundle,) = server.bundles()
    assert (bundle.name, bundle.landmarks, bundle.trained) == ("head", NAMES, True)
    assert "uncertainty" in server.strategies()
    assert server.next_sample("first") is None
    sample = Sample("lps1", "/of/another/machine/lps1.nii.gz", "lps1.nii.gz")
    assert server.download(sample, tmp_path).read_bytes() == (world.studies / "lps1.nii.gz").read_bytes()
    found = server.infer("head", "lps1")
    assert [item.name for item in found] == list(NAMES)
    dragged = [Landmark(NAMES[0], DEFINED, (1.25, -2.5, 3.0)), *found[1:3], Landmark(NAMES[3], MISSING)]
    server.submit("lps1", dragged, bundle, tag="module")
    kept = read_markups(world.studies / "labels" / "module" / "lps1.mrk.json")
    assert kept.names == NAMES
    assert kept.points[0].tolist() == [-1.25, 2.5, 3.0]
    assert kept.status[3] == ABSENT
    assert describe(server.training()).startswith("Done, epoch 15/15")
    with pytest.raises(ServerError, match="max_epochs"):
        server.train("head", max_epochs=0)


def test_sixteen_clients_at_once_lose_nothing(running, world):
    url = running["server"].url
    images = [list(world.truth)[number % 3] for number in range(16)]
    files = [[world.labels / f"client{number}_{turn}.mrk.json" for turn in range(2)] for number in range(16)]
    for number, image in enumerate(images):
        for turn, file in enumerate(files[number]):
            file.write_bytes(world.fiducials(image, world.truth[image] + 0.1 * number + turn).read_bytes())

    def work(number):
        client = MONAILabelClient(url)
        for file in files[number]:
            client.save_label(images[number], str(file), tag=f"client{number}")
        _, params = client.infer("head", images[number], {})
        return len(params["landmarks"])

    with ThreadPoolExecutor(16) as clients:
        assert list(clients.map(work, range(16))) == [len(NAMES)] * 16
    for number, image in enumerate(images):
        saved = canonical(world, image, f"client{number}")
        assert np.allclose(saved, world.truth[image] + 0.1 * number + 1, atol=1e-6)
    listed = running["server"].get("/datastore/?output=all")["objects"]
    assert sum(len(item["labels"]) for item in listed.values()) == 3 + 1 + 1 + 16


def test_many_images_at_once(running, world, client):
    broken = world.studies / "broken.nii.gz"
    broken.write_bytes((world.studies / "plain0.nii.gz").read_bytes()[:3000])
    address = f"{client.get_server_url()}/batch/infer/head?images=all"
    wait_until(lambda: "broken" in running["server"].get("/datastore/?output=all")["objects"], "the image is not seen")
    request = urllib.request.Request(address, data=b"{}", headers={"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=60).close()

    def ended():
        status = running["server"].get("/batch/infer")
        return status if status["status"] not in ("SUBMITTED", "RUNNING") else None

    status = wait_until(ended, "the inference of many images does not end")
    assert status["status"] == "DONE", status
    assert any("broken" in line and "cannot" in line for line in status["details"]), status["details"]
    found = found_by(client, "pir2")
    points = [found[name]["world"] if found[name]["present"] else [np.nan] * 3 for name in NAMES]
    assert np.allclose(canonical(world, "pir2", "original"), points, atol=1e-4, equal_nan=True)
