"""Two sites with other cases, one of which has not annotated a landmark, train the bundle of a package together."""

import importlib.util
import json
import os
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from blobs import HEAD, write_blobs
from bundle_tools import REPOSITORY, ask, config, edit, weights

from auto_config.bundle.opened import untrained_network
from auto_config.bundle_scripts.training.run.schedule import learning_rate
from auto_config.cli import main
from auto_config.commands.join import join
from auto_config.commands.package import package
from auto_config.commands.predict import predict
from auto_config.errors import UserError
from auto_config.federation.rounds import first_weights, put_into_use

EXAMPLE = REPOSITORY / "docs" / "examples" / "federated"


def without(folder, name):
    """Take a landmark out of every file, as of a site that has never looked for it."""
    for path in (folder / "landmarks").iterdir():
        edit(path, lambda c: c["markups"][0].update(controlPoints=_others(c, name)))


def _others(content, name):
    return [point for point in content["markups"][0]["controlPoints"] if point["label"] != name]


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """Data of two sites; the second has never looked for `top`."""
    folder = tmp_path_factory.mktemp("sites")
    write_blobs(folder / "all", cases=12)
    names = sorted(path.name[:-7] for path in (folder / "all" / "images").iterdir())
    for site, part in (("a", names[:7]), ("b", names[7:])):
        for kind, ending in (("images", ".nii.gz"), ("landmarks", ".mrk.json")):
            (folder / site / kind).mkdir(parents=True)
            for name in part:
                shutil.copy(folder / "all" / kind / f"{name}{ending}", folder / site / kind)
    without(folder / "b", "top")
    return folder / "a", folder / "b"


@pytest.fixture(scope="module")
def trained(two_stage_bundle, server, tmp_path_factory):
    """The coordinator's bundle and its package."""
    bundle = tmp_path_factory.mktemp("coordinator") / "head"
    shutil.copytree(two_stage_bundle, bundle)
    server.monai(bundle, "run", "training", "--config_file", "configs/train.json", "--train#trainer#max_epochs", 1)
    assert package(bundle, bundle.with_suffix(".zip")) == 0
    return bundle, bundle.with_suffix(".zip")


@pytest.fixture
def federation(trained, cohorts, copy_of, tmp_path):
    """Coordinator's bundle, and those of the sites, made of the package."""
    bundle, archive = trained
    places = [tmp_path / "site_a", tmp_path / "site_b"]
    for cohort, place in zip(cohorts, places, strict=True):
        assert join(archive, cohort, place, workers=1) == 0
    return copy_of(bundle, "coordinator"), *places


def test_a_site_gets_the_plan_of_the_package_and_its_own_cases(federation, trained, cohorts):
    for place, cohort in zip(federation[1:], cohorts, strict=True):
        for name in ("plan", "landmarks", "metadata"):
            assert config(place, name) == config(trained[0], name) | ({"name": "head"} if name == "metadata" else {})
        listed = json.loads((place / "data" / "datalist.json").read_text())
        cases = {item["case"] for item in listed["training"]} | {item["case"] for item in listed["test"]}
        assert cases == {path.name[:-7] for path in (cohort / "images").iterdir()}
        assert listed["dataset_dir"] == config(place, "train")["dataset_dir"] == str(cohort / "images")
        assert all(set(item["label"]) == set(HEAD) for item in listed["training"])
        assert not (place / "cache").exists() and not (place / "eval").exists()
        same = weights(place)
        assert all(torch.equal(same[name], tensor) for name, tensor in weights(trained[0]).items())
    unknown = {item["label"]["top"] for item in listed["training"]}
    assert unknown == {"unknown"}


def test_two_rounds_without_any_server(federation, cohorts, server, tmp_path):
    root, *places = federation
    answer = ask(server, tmp_path, "federated", "sites", [str(path) for path in federation])
    assert np.isfinite(answer["errors"]).all()
    assert answer["known"] == [[6, 6, 6, 6], [4, 4, 4, 0]]
    assert answer["cases"] == [6, 4]
    # The rate decays over the six steps of both rounds, not within each: that of the last step of a round.
    train = config(places[0], "train")
    rule = (train["schedule"]["warm_up"], train["schedule"]["power"])
    rates = [learning_rate(train["learning_rate"], (step - 1) / 6, step, *rule) for step in (3, 6)]
    np.testing.assert_allclose(answer["rates"], [[rate, rate] for rate in rates])
    one, other = map(np.array, answer["last"])
    assert answer["layers"][0].startswith("stages.coarse.")
    top = HEAD.index("top")
    mean = (6 * one + 4 * other) / 10
    mean[top] = one[top]  # learnt from the only site that knows it
    np.testing.assert_allclose(answer["mean"], mean, rtol=1e-5)
    assert abs(one[top] - other[top]) > 1e-6
    assert predict(root, cohorts[1] / "images", tmp_path / "out", device="cpu") == 0
    assert (places[1] / "models" / "fold_0" / "progress.jsonl").is_file()


@pytest.mark.slow
def test_two_rounds_in_the_simulator_of_nvflare(federation, tmp_path):
    if importlib.util.find_spec("nvflare") is None:
        pytest.skip("nvflare is not installed: pip install nvflare")
    root, *places = federation
    before = weights(root)
    line = [sys.executable, "-W", "ignore", EXAMPLE / "job.py", root, *(f"{place.name}={place}" for place in places)]
    line += ["--rounds", 2, "--workspace", tmp_path / "work"]
    paths = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = subprocess.run(
        [str(word) for word in line], check=False, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    after = weights(root)
    assert after.keys() == before.keys()
    assert any(not torch.equal(after[name], tensor) for name, tensor in before.items())
    for place in places:
        lines = (place / "models" / "fold_0" / "progress.jsonl").read_text().splitlines()
        assert json.loads(lines[-1])["epoch"] == 2


def test_without_nvflare_the_example_ends_in_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "nvflare", None)
    monkeypatch.setattr(sys, "argv", ["job.py", "server", "one=one"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLE / "job.py"), run_name="__main__")
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: nvflare") and line.endswith("pip install nvflare")


def test_a_path_that_nvflare_would_cut_is_one_line(tmp_path, monkeypatch, capsys):
    names = ("FedAvgRecipe", "SimEnv", "set_per_site_config", "BundleAggregator", "BundlePersistor", "FrameworkType")
    stub = SimpleNamespace(**dict.fromkeys(names))
    modules = ("", ".job_config", ".job_config.script_runner", ".recipe", ".recipe.fedavg")
    for module in ("components", *(f"nvflare{module}" for module in modules)):
        monkeypatch.setitem(sys.modules, module, stub)
    monkeypatch.setattr(sys, "argv", ["job.py", "server", f"one={tmp_path}/one", f"two={tmp_path}/two sites"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLE / "job.py"), run_name="__main__")
    assert ended.value.code == 2
    assert "two sites': NVFlare passes no path with a blank on" in capsys.readouterr().err


def test_a_bundle_without_weights_begins_with_a_new_network(two_stage_bundle, cohorts, tmp_path, capsys):
    assert join(two_stage_bundle, cohorts[0], tmp_path / "site", workers=1) == 0
    said = capsys.readouterr().out
    assert "6 training cases" in said or "7 training cases" in said
    assert "no weights" in said
    one, same, other = (first_weights(two_stage_bundle, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert any(not np.array_equal(one[name], other[name]) for name in one)
    assert one.keys() == untrained_network(two_stage_bundle).state_dict().keys()


def test_averaged_weights_take_the_place_of_an_ensemble_and_its_calibration(two_stage_bundle, copy_of):
    bundle = copy_of(two_stage_bundle)
    (bundle / "models" / "calibration.json").write_text("{}")
    (bundle / "models" / "ensemble.json").write_text('{"files": ["fold_0/model.pt"]}')
    found = first_weights(bundle)
    put_into_use(bundle, found)
    assert not (bundle / "models" / "calibration.json").exists()
    assert json.loads((bundle / "models" / "ensemble.json").read_text()) == {"files": ["model.pt"]}
    assert all(np.array_equal(weights(bundle)[name].numpy(), array) for name, array in found.items())


def errors(capsys, *words):
    status = main([str(word) for word in words])
    said = capsys.readouterr().err.strip().splitlines()
    return status, said


def test_data_that_do_not_fit_are_one_line_and_nothing_is_written(two_stage_bundle, cohorts, tmp_path, capsys):
    strange = tmp_path / "strange"
    shutil.copytree(cohorts[1], strange)
    for path in (strange / "landmarks").iterdir():
        path.write_text(path.read_text().replace('"nose"', '"Nase"'))
    place = tmp_path / "site"
    status, said = errors(capsys, "join", two_stage_bundle, strange, place, "--workers", 1)
    assert status == 2
    assert "the plan has no landmark 'Nase'; rename it as in the plan" in said[-1]
    status, said = errors(capsys, "join", two_stage_bundle, cohorts[1], place, "--accept", "names")
    assert (status, len(said)) == (2, 1)
    assert "allowed are spacing, normalization, pose, size" in said[0]
    assert not place.exists()
    assert not list(tmp_path.glob(".*"))
    assert join(two_stage_bundle, strange, place, landmarks=["eye_left", "eye_right"], workers=1) == 0


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("nothing", "does not exist; give the zip"),
        ("text", "is no whole zip"),
        ("outside", "would lie outside of its folder"),
        ("two", "holds 2 folders"),
        ("other", r"has no configs/train\.json"),
        ("taken", "exists and is no bundle"),
    ],
)
def test_packages_that_are_none(kind, words, cohorts, two_stage_bundle, tmp_path):
    path, place = tmp_path / "p.zip", tmp_path / "site"
    members = {"outside": ["../a"], "two": ["a/b", "c/d"], "other": ["a/b"]}.get(kind)
    if members:
        with zipfile.ZipFile(path, "w") as archive:
            for member in members:
                archive.writestr(member, "x")
    if kind == "text":
        path.write_text("no zip")
    if kind == "taken":
        place.mkdir()
        (place / "letter.txt").write_text("dear")
        path = two_stage_bundle
    with pytest.raises(UserError, match=words):
        join(path, cohorts[0], place, workers=1)
    assert not Path(tmp_path, "a").exists()
    assert place.exists() == (kind == "taken")


def test_a_site_without_a_data_list_is_told_what_to_do(two_stage_bundle, copy_of):
    from auto_config.federation.rounds import LocalTraining

    bundle = copy_of(two_stage_bundle)
    shutil.rmtree(bundle / "data")
    with pytest.raises(UserError, match="auto_config join"):
        LocalTraining(bundle, rounds=1)
