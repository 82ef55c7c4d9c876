"""Recipes: a benchmark as it is downloaded to a bundle with its published split, in one command."""

import json

import benchmark_layouts as layouts
import numpy as np
import pytest

from auto_config.cli import main
from auto_config.evaluation.published.rows import published_rows
from auto_config.public_datasets import BENCHMARKS, isbi2015
from auto_config.public_datasets.recipes import RECIPES

# A published training set is never so small that each case is its own fold.
QUICK = ("--workers", "1", "--network", "tiny", "--gpu_memory_gb", "4")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def isbi(root):
    for place, first, count in (("TrainingData", 1, 10), ("Test1Data", 151, 2), ("Test2Data", 301, 1)):
        for number in range(first, first + count):
            points = layouts.isbi_pixels(number)
            layouts.isbi_case(root, place, f"{number:03d}", points, points + 2)


def brains(root):
    for seed, subject in enumerate(("sub-123925", *(f"sub-10030{number}" for number in range(10)))):
        layouts.afids_subject(root / "AFIDs-HCP", subject)
        image = root / "AFIDs-HCP" / subject / "anat" / f"{subject}_T1w.nii.gz"
        layouts.nifti(image, layouts.odd_affine(), seed=seed)


def molars(root):
    shape = (40, 44, 36)
    for split, numbers in (("train", range(1, 9)), ("val", (9, 10)), ("test", (11,))):
        for number in numbers:
            rows = np.random.default_rng(number).integers(4, np.array(shape) - 4, (14, 3)).astype(float)
            if number in {2, 10}:
                rows[4] = -1000.0
            layouts.mml_case(root, split, f"{number:04d}", rows, shape=shape, seed=number)


SETS = {"isbi2015": isbi, "afids": brains, "mml": molars}


def made(name, folder, *options):
    SETS[name](folder / "download")
    words = ("recipe", name, folder / "download", folder / "bundle", *QUICK, *options)
    return main([str(word) for word in words])


@pytest.mark.parametrize("name", SETS)
def test_one_command_ends_in_a_bundle_with_the_published_split(name, tmp_path, capsys):
    assert made(name, tmp_path) == 0
    bundle = tmp_path / "bundle"
    data, plan = read(bundle / "data/datalist.json"), read(bundle / "configs/plan.json")["decisions"]
    tests = {"isbi2015": ["151", "152", "301"], "afids": ["sub-123925"], "mml": ["0011"]}[name]
    assert [item["case"] for item in data["test"]] == tests
    assert plan["test"]["value"]["from"] == "source"
    atlas = read(bundle / "atlas/atlas.json")["landmarks"]
    assert len({row["definition"] for row in atlas}) == (1 if name == "mml" else len(atlas))  # MML's authors give none
    assert all((bundle / "atlas" / row["pictures"][0]).is_file() for row in atlas)
    landmarks = read(bundle / "configs/landmarks.json")
    pairs = {"isbi2015": 0, "afids": 22, "mml": 0}[name]
    assert sum(row["pair"] is not None for row in landmarks["landmarks"]) == pairs
    if name == "isbi2015":
        assert (landmarks["unit"], read(bundle / "configs/inference.json")["pixel_spacing"]) == ("mm", [0.1, 0.1])
        item = next(item for item in data["training"] if item["case"] == "001")
        mean = (layouts.isbi_pixels(1) + 1) * 0.1  # of two doctors who are 2 pixels apart
        np.testing.assert_allclose([item["label"][landmark] for landmark in isbi2015.NAMES], mean)
    else:
        assert "given by the user" in plan["normalization"]["reason"]
    if name == "mml":
        assert [item["case"] for item in data["training"] if item["fold"] == 0] == ["0009", "0010"]
        assert {item["case"] for item in data["training"] if "absent" in item["label"].values()} == {"0002", "0010"}
    said = capsys.readouterr().out
    results = tmp_path / "bundle_results"
    assert f"auto_config train {bundle}\n" in said
    assert f"evaluate {results} {tmp_path}/bundle_data/datalist.json --split test --compare_published {name}" in said
    assert published_rows(name)
    assert main(["recipe", name, str(tmp_path / "download"), str(bundle)]) == 2
    assert "is a bundle already; give --overwrite" in capsys.readouterr().err


@pytest.fixture
def created(monkeypatch):
    """What `create` is called with; nothing is planned."""
    calls = []
    monkeypatch.setattr("auto_config.commands.create.create", lambda *words, **options: calls.append((words, options)))
    return calls


def test_the_complete_subset_of_the_molars(tmp_path, created):
    assert made("mml", tmp_path, "--complete", "--data", tmp_path / "elsewhere", "--seed", 3) == 0
    training = read(tmp_path / "elsewhere/datalist.json")["training"]
    assert {item["case"] for item in training} == {f"000{number}" for number in (1, 3, 4, 5, 6, 7, 8)}
    ((source, bundle), options) = created[0]
    assert (source, bundle) == (tmp_path / "elsewhere/datalist.json", tmp_path / "bundle")
    assert (options["modality"], options["seed"], options["network"]) == ("ct", 3, "tiny")


def test_lacking_files_are_left_out_only_where_allowed(tmp_path, created, capsys):
    brains(tmp_path / "download")
    (tmp_path / "download/AFIDs-HCP/sub-100301/anat/sub-100301_T1w.nii.gz").unlink()
    words = ["recipe", "afids", str(tmp_path / "download"), str(tmp_path / "bundle"), *QUICK]
    assert main(words) == 2
    assert "sub-100301" in capsys.readouterr().err and not created
    assert main([*words, "--allow_missing"]) == 1
    assert len(read(tmp_path / "bundle_data/datalist.json")["training"]) == 9
    assert created[0][1]["modality"] == "mr"


def test_a_wrong_name_is_said_before_anything_is_converted(tmp_path, created, capsys):
    molars(tmp_path / "download")
    words = ["recipe", "mml", str(tmp_path / "download"), str(tmp_path / "bundle"), "--workers", "1"]
    for option in ("--network", "--method"):
        assert main([*words, option, "tinny"]) == 2
        assert "tinny" in capsys.readouterr().err
    assert not (tmp_path / "bundle_data").exists() and not created


def test_data_that_were_converted_before_are_used(tmp_path, created, capsys):
    assert made("mml", tmp_path) == 0
    data = tmp_path / "bundle_data"
    written = (data / "datalist.json").stat().st_mtime_ns
    words = ["recipe", "mml", str(tmp_path / "download"), str(tmp_path / "bundle"), *QUICK]
    assert main(words) == 0
    assert f"{data}: is there, converted before" in capsys.readouterr().err
    assert (data / "datalist.json").stat().st_mtime_ns == written
    assert len(created) == 2
    assert main([*words, "--complete"]) == 2  # that would be others
    assert f"{data}: exists; give --overwrite" in capsys.readouterr().err
    next((data / "images").iterdir()).unlink()
    assert main(words) == 2
    assert f"{data}: exists; give --overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0


def test_wrong_words_are_one_line(tmp_path, capsys):
    run = main
    for name in sorted(set(BENCHMARKS) - set(RECIPES)):
        assert run(["recipe", name, str(tmp_path), str(tmp_path / "b")]) == 2
        assert f"auto_config convert DIR DATA --from {name}" in capsys.readouterr().err
    assert run(["recipe", "mine", str(tmp_path), str(tmp_path / "b")]) == 2
    assert "none of the recipes isbi2015, afids, mml" in capsys.readouterr().err
    assert run(["recipe", "mml", str(tmp_path), str(tmp_path / "b"), "--images", "refer"]) == 2
    assert "use link or copy" in capsys.readouterr().err
    assert run(["recipe", "mml", str(tmp_path), str(tmp_path / "b"), "--data", str(tmp_path / "b")]) == 2
    assert "is the folder of the bundle" in capsys.readouterr().err
    assert run(["recipe", "mml", str(tmp_path), str(tmp_path / "b")]) == 2
    assert not (tmp_path / "b").exists() and not (tmp_path / "b_data").exists()
