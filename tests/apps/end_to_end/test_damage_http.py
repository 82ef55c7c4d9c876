"""A label, an image and a bundle are damaged while the server runs: clear errors, and nothing is lost."""

import json
import time

import numpy as np
import pytest
import requests
from blob_world import NAMES, make_blob_world, untrained_weights

from auto_config.bundle_scripts.points.landmark_files import read_markups

pytestmark = pytest.mark.slow
JOB_SECONDS = 300
ONE_EPOCH = {"max_epochs": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Three labelled images, and the bundle ``head`` with weights."""
    world = make_blob_world(tmp_path_factory.mktemp("damaged_world"))
    untrained_weights(world.root)
    return world


@pytest.fixture(scope="module")
def running(server, world):
    running = server(world.bundles, world.studies)
    for image in world.truth:
        assert send_label(running, world, image).status_code == 200
    return running


@pytest.fixture
def damage():
    """Changes a file until the end of the test."""
    before = {}

    def change(path, content):
        before.setdefault(path, path.read_bytes())
        path.write_bytes(content(before[path]))

    yield change
    for path, content in before.items():
        path.write_bytes(content)


def half(content):
    return content[: len(content) // 2]


def send_label(running, world, image):
    with world.fiducials(image).open("rb") as stream:
        return requests.put(
            f"{running.url}/datastore/label",
            params={"image": image, "tag": "final"},
            files={"label": (f"{image}.mrk.json", stream)},
            timeout=60,
        )


def refusal(running, image, model="head"):
    status, _, body = running.infer(model, image, {})
    return status, json.loads(body)["error"]


def last_words(running, **jobs):
    """Start a training and an inference of all images together, and wait; state and last line of each."""
    for address, options in jobs.items():
        answer = requests.post(f"{running.url}/{address.replace('_', '/')}/head", json=options, timeout=60)
        assert answer.status_code == 200, answer.text
    done = {}
    deadline = time.monotonic() + JOB_SECONDS
    while len(done) < len(jobs):
        assert time.monotonic() < deadline
        time.sleep(0.2)
        for address in jobs:
            task = running.get(f"/{address.replace('_', '/')}" + ("/" if address == "train" else ""))
            if task["status"] not in ("SUBMITTED", "RUNNING"):
                done[address] = task["status"], "\n".join(task["details"])
    return [done[address] for address in jobs]


def weights_in_use(world):
    return (world.root / "models" / "model.pt").read_bytes()


def test_a_damaged_image(running, world, damage):
    before = weights_in_use(world)
    damage(world.studies / "plain0.nii.gz", half)
    status, message = refusal(running, "plain0")
    assert status == 422
    assert "plain0" in message
    assert str(world.studies) not in message
    assert running.landmarks("head", "lps1").keys() == set(NAMES)
    (trained, why), (inferred, lines) = last_words(running, train=ONE_EPOCH, batch_infer={})
    assert trained == "ERROR"
    assert "error: " in why.splitlines()[-1]
    assert "plain0.nii.gz" in why.splitlines()[-1]
    stats = running.get("/train/")["stats"]
    assert stats["state"] == "failed"
    assert "plain0.nii.gz" in stats["error"]
    assert inferred == "DONE"
    assert "2 of 3 images have landmarks, 1 failed" in lines
    assert weights_in_use(world) == before
    # Its label is still there.
    assert np.allclose(read_markups(world.studies / "labels/final/plain0.mrk.json").points, world.truth["plain0"])


def test_damaged_labels(running, world, damage):
    folder = world.studies / "labels" / "final"
    for image in world.truth:
        damage(folder / f"{image}.mrk.json", half)
    status = running.get("/datastore/")
    assert set(status["label_problems"]) == {f"final/{image}" for image in world.truth}
    assert status["completed"] == 0
    first = requests.post(f"{running.url}/activelearning/first", json={}, timeout=60).json()
    assert first["id"] in world.truth
    assert running.landmarks("head", first["id"]).keys() == set(NAMES)
    assert running.landmarks("head_edit", first["id"]).keys() == set(NAMES)
    [(trained, why)] = last_words(running, train=ONE_EPOCH)
    assert trained == "ERROR"
    assert "no final label can be used: final/" in why.splitlines()[-1]
    # What was sent is still there, and a label that is sent again is one.
    uploads = folder / "uploads" / "plain0"
    kept = [read_markups(path).points for path in sorted(uploads.glob("*/upload/*"))]
    assert np.allclose(kept[-1], world.truth["plain0"])
    assert send_label(running, world, "plain0").status_code == 200
    assert running.get("/datastore/")["completed"] == 1
    assert np.allclose(read_markups(folder / "plain0.mrk.json").points, world.truth["plain0"])


def test_damaged_weights(running, world, damage):
    damage(world.root / "models" / "model.pt", half)
    damaged = weights_in_use(world)
    status, message = refusal(running, "lps1")
    assert status == 500
    assert "bundle 'head' cannot be used" in message
    assert "model.pt" in message
    assert str(world.bundles) not in message
    assert running.get("/info/")["bundles"]["head"]["error"] in message
    (trained, why), (inferred, lines) = last_words(running, train=ONE_EPOCH, batch_infer={})
    assert trained == inferred == "ERROR"
    assert "models/model.pt of 'head' is damaged; train from scratch" in why.splitlines()[-1]
    assert "bundle 'head' cannot be used" in lines.splitlines()[-1]
    assert weights_in_use(world) == damaged
