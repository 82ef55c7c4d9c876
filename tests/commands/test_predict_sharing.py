"""`predict` in several processes, and going on where it stopped: the same files as one whole run."""

import csv
import json
import os
import queue
import signal

import pytest
from toy_bundle import save_values, write_toy_bundle, write_toy_image

from auto_config.commands.predict import predict
from auto_config.errors import UserError
from auto_config.prediction.sharing.job import Job
from auto_config.prediction.sharing.workers import Workers, devices_of, work

pytestmark = pytest.mark.usefixtures("warm_python")

CASES = ("a", "b", "c", "d")


@pytest.fixture
def bundle(tmp_path):
    return write_toy_bundle(tmp_path / "toy")


@pytest.fixture
def images(tmp_path):
    for number, case in enumerate(CASES):
        write_toy_image(tmp_path / f"in/{case}.nii.gz", [(2 + number, 3, 4), (9, 1 + number, 6)])
    (tmp_path / "in/broken.nii.gz").write_bytes(b"not a scan")
    return tmp_path / "in"


def files_of(folder):
    """Content of all files, what depends on time and machine taken out."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix not in (".gz", ".json")}
    found |= {path.name: path.stat().st_size for path in folder.glob("*.gz")}
    found |= {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
    run = found["run.json"]
    for key in ("seconds", "peak_memory_mb"):
        run.pop(key)
    run["options"].pop("workers")
    for entry in run["made_by"]["cases"].values():
        entry.pop("seconds")
    return found


def test_two_processes_give_the_files_of_one(bundle, images, tmp_path, capfd):
    options = {"json": True, "labelmap": True, "device": "cpu"}
    assert predict(bundle, images, tmp_path / "one", **options) == 1
    assert predict(bundle, images, tmp_path / "two", workers=2, **options) == 1
    assert "broken.nii.gz" in capfd.readouterr().err
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    with (tmp_path / "two/predictions.csv").open(newline="") as stream:
        assert list(dict.fromkeys(row["case"] for row in csv.DictReader(stream))) == list(CASES)


def test_a_process_that_cannot_open_the_bundle_says_why(bundle, images, tmp_path):
    (bundle / "models/model.pt").write_bytes(b"damaged")
    tasks, answers = queue.Queue(), queue.Queue()
    before = signal.getsignal(signal.SIGINT)
    try:
        work(Job(bundle, tmp_path), 0, None, 2, tasks, answers)
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(UserError, match=r"model\.pt"):
        list(Workers(Job(bundle, tmp_path), ["cpu"])._answers([None], answers))


def test_only_what_is_missing_or_made_otherwise_is_predicted(bundle, images, tmp_path, capsys):
    (images / "broken.nii.gz").unlink()
    out = tmp_path / "out"

    def stamps():
        return {path.name: path.stat().st_mtime_ns for path in out.glob("*.mrk.json")}

    def said(**options):
        assert predict(bundle, images, out, skip_existing=True, **options) == 0
        return capsys.readouterr().out.splitlines()[0]

    assert said() == "0 of 4 images left as they are, made by the same weights and options"
    whole, made = files_of(out), stamps()
    # As after a kill: some have no rows, one has rows and no file.
    (out / "b.mrk.json").unlink()
    assert said().startswith("3 of 4 images")
    again = stamps()
    assert {case for case in CASES if again[f"{case}.mrk.json"] != made[f"{case}.mrk.json"]} == {"b"}
    assert files_of(out) == whole
    # Another image of the same name, other options, other weights.
    os.utime(images / "c.nii.gz", ns=(1, 1))
    assert said().startswith("3 of 4 images")
    with pytest.raises(UserError, match="were made with other weights or options"):
        said(fcsv=True)
    assert said(fcsv=True, overwrite=True).startswith("0 of 4 images")
    # Nothing is left to do: nothing is written, and an evaluation stays.
    (out / "metrics.json").write_text("{}")
    before = stamps()
    assert said(fcsv=True).startswith("4 of 4 images")
    assert stamps() == before and (out / "metrics.json").read_text() == "{}"
    # New weights never take away what may have been corrected since.
    save_values(bundle / "models/model.pt", (20.0, 10.0))
    (out / "a.mrk.json").write_text("corrected")
    with pytest.raises(UserError, match="'a', 'b' and 2 more were made with other weights or options"):
        said(fcsv=True)
    assert (out / "a.mrk.json").read_text() == "corrected"
    assert said(fcsv=True, overwrite=True).startswith("0 of 4 images")
    # More images join what is there, and results of others stay.
    write_toy_image(tmp_path / "more/e.nii.gz", [(2, 3, 4), (9, 1, 6)])
    assert predict(bundle, tmp_path / "more", out, skip_existing=True, fcsv=True) == 0
    assert list(json.loads((out / "run.json").read_text())["image_centers"]) == ["e", *CASES]
    # But never those of other weights.
    save_values(bundle / "models/model.pt", (10.0, 20.0))
    with pytest.raises(UserError, match="and 3 more were made with other weights or options"):
        predict(bundle, tmp_path / "more", out, skip_existing=True, fcsv=True)


def test_a_run_that_is_killed_can_go_on(bundle, images, tmp_path, monkeypatch, capsys):
    from auto_config.prediction.sharing.job import Predictor

    original, out = Predictor.predict, tmp_path / "out"

    def until_c(self, case, paths, content):
        if case == "c":
            raise KeyboardInterrupt
        return original(self, case, paths, content)

    with monkeypatch.context() as patched:
        patched.setattr(Predictor, "predict", until_c)
        with pytest.raises(KeyboardInterrupt):
            predict(bundle, images, out)
    assert predict(bundle, images, out, skip_existing=True) == 1
    assert capsys.readouterr().out.startswith("2 of 5 images left as they are")
    assert predict(bundle, images, tmp_path / "whole") == 1
    assert files_of(out) == files_of(tmp_path / "whole")


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    import torch

    assert devices_of(1, "cuda:1") == ["cuda:1"]
    assert devices_of(2, "cpu") == ["cpu", "cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices_of(2, None) == ["cuda:0", "cuda:1"]
    for workers, device, message in ((3, None, "has 2 GPUs"), (2, "cuda:1", "omit --device"), (0, None, "give 1 or")):
        with pytest.raises(UserError, match=message):
            devices_of(workers, device)
