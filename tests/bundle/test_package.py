"""`package`: what is handed on predicts the same points and names nobody."""

import ast
import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
import torch
from bundle_tools import REPOSITORY, edit, failures_of_zoo_test

from auto_config.bundle.pretrained import LOADER
from auto_config.commands.create import create
from auto_config.commands.evaluate import evaluate
from auto_config.commands.package import package
from auto_config.commands.predict import predict
from auto_config.errors import UserError
from auto_config.packaging.card import atlas_section, data_section, performance, reliability, robustness, with_section
from auto_config.packaging.contents import leaks, shared_content
from auto_config.packaging.zoo_test import zoo_test
from auto_config.verification import files
from auto_config.verification.checks import findings_of

ONLY_LISTED = REPOSITORY / "tests" / "support" / "packaging" / "only_listed.py"
pytestmark = pytest.mark.usefixtures("warm_python")


@pytest.fixture(scope="module")
def trained(two_stage_bundle, server, tmp_path_factory):
    bundle = tmp_path_factory.mktemp("package") / "head_blobs"
    subprocess.run(["cp", "-r", str(two_stage_bundle), str(bundle)], check=True)
    server.monai(bundle, "run", "training", "--config_file", "configs/train.json", "--train#trainer#max_epochs", 1)
    return bundle


@pytest.fixture(scope="module")
def results(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    assert predict(trained, trained / "data" / "datalist.json", out, device="cpu") == 0
    assert evaluate(out, trained / "data" / "datalist.json") == 0
    return out


def unpacked(archive, folder):
    with zipfile.ZipFile(archive) as content:
        content.extractall(folder)
    return folder / "head_blobs"


def points(folder):
    return (folder / "predictions.csv").read_text()


def test_a_package_predicts_the_same_and_names_no_case(trained, results, heads, tmp_path, capsys):
    edit(trained / "configs" / "train.json", lambda c: c.update(dataset_dir=str(heads[0])))
    output = tmp_path / "out" / "head.zip"
    words = {"authors": "A. Nn", "copyright": "A. Nn 2026", "data_source": "blobs", "data_license": "CC0"}
    assert package(trained, output, results=results, version="0.2.0", changes="more data", **words) == 0
    said = capsys.readouterr().out
    assert "placeholders" not in said
    bundle = unpacked(output, tmp_path / "elsewhere")
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert {"LICENSE", "configs/train.json", "docs/README.md", "models/model.pt", "scripts/__init__.py"} <= files
    assert not [file for file in files if file.startswith(("data/", "cache/", "eval/", "models/fold_"))]
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert next(iter(metadata["changelog"].items())) == ("0.2.0", "more data")
    assert {metadata[key] for key in ("authors", "copyright", "version", "name")} == {
        *("A. Nn", "A. Nn 2026", "0.2.0", "head_blobs")
    }
    card = (bundle / "docs" / "README.md").read_text()
    evaluated = json.loads((results / "metrics.json").read_text())
    assert f"| all landmarks | {evaluated['mre_mm']['n']} | {evaluated['mre_mm']['mean']:.3g} |" in card
    low, high = evaluated["per_landmark"]["nose"]["mre_interval"]
    assert f" | {low:.3g} to {high:.3g} | " in next(line for line in card.splitlines() if line.startswith("| nose |"))
    assert "On 2 cases that were not trained on" in card
    assert "Nothing is known" not in card
    assert "Source: blobs" in card and "Licence of the data: CC0" in card and "A. Nn" in card
    names = {item["case"] for item in json.loads((trained / "data" / "datalist.json").read_text())["training"]}
    atlas = {file for file in files if file.startswith("atlas/")}
    assert atlas == {"atlas/atlas.json", *(f"atlas/{name}.png" for name in ("eye_left", "eye_right", "nose", "top"))}
    assert "show nobody's image" in card
    for file in files - atlas - {"models/model.pt"} | {"atlas/atlas.json"}:
        text = (bundle / file).read_text()
        assert str(heads[0]) not in text, file
        assert not [name for name in names if name in text.split()], file
    assert {f.state for f in findings_of(bundle, monai=False)} == {"ok", "not checked"}
    assert predict(bundle, heads[0] / "images", tmp_path / "again", device="cpu") == 0
    assert predict(trained, heads[0] / "images", tmp_path / "first", device="cpu") == 0
    assert points(tmp_path / "again") == points(tmp_path / "first")


def section(card, heading):
    """What stands under a heading of a card."""
    _, *found = re.split(rf"^## {heading}\n", card, flags=re.MULTILINE)
    assert len(found) == 1, f"{heading}: there {len(found)} times"
    return re.split(r"^## ", found[0], flags=re.MULTILINE)[0].strip()


def test_the_card_says_what_it_is_for_and_how_far_it_can_be_trusted(trained, copy_of, tmp_path):
    """From the metadata and from the calibration that travels with the package, which here is that of real skulls."""
    bundle = copy_of(trained)
    source = REPOSITORY / "bundles" / "mouse_skull_ct_51" / "models" / "calibration.json"
    shutil.copy(source, bundle / "models" / "calibration.json")
    assert package(bundle, tmp_path / "head.zip") == 0
    handed_on = unpacked(tmp_path / "head.zip", tmp_path)
    card = (handed_on / "docs" / "README.md").read_text()
    use = json.loads((handed_on / "configs" / "metadata.json").read_text())["intended_use"]
    assert section(card, "Intended Use") == use
    assert "Not a medical device" in use
    numbers = json.loads(source.read_text())
    reliability, robustness = section(card, "Reliability"), section(card, "Robustness")
    assert f"Calibrated on {numbers['cases']} cases that the networks had not seen ({numbers['source']})" in reliability
    assert f"AUROC of {numbers['presence']['auroc']:.3f}" in reliability
    for note in numbers["notes"]:
        assert f"- {note}" in reliability
    for kind in numbers["verdict"]["spoilings"]:
        assert f"| {kind} |" in robustness
    places = [card.index(f"\n## {name}\n") for name in ("Reliability", "Usage", "Intended Use", "Limitations")]
    assert places == sorted(places)


def test_a_card_promises_nothing_that_was_not_calibrated(trained, tmp_path):
    assert package(trained, tmp_path / "head.zip") == 0
    card = (unpacked(tmp_path / "head.zip", tmp_path) / "docs" / "README.md").read_text()
    assert "## Reliability" not in card and "## Robustness" not in card
    assert section(card, "Intended Use")


def predict_alone(bundle, images, out):
    """MONAI's command where only what metadata.json lists is installed; from a folder where this project is not."""
    line = [sys.executable, "-W", "ignore", ONLY_LISTED, bundle, "run"]
    line += ["--config_file", bundle / "configs" / "inference.json", "--bundle_root", bundle, "--device", "cpu"]
    line += ["--dataset_dir", images, "--output_dir", out]
    return subprocess.run(line, cwd=out.parent, capture_output=True, text=True, check=False)


def test_what_metadata_lists_is_enough_to_predict_the_same_points(trained, heads, tmp_path, cold_python):
    """`benchmarks/release/fresh_environment.py` does it by installing; here all other packages are refused."""
    assert package(trained, tmp_path / "head.zip") == 0
    bundle = unpacked(tmp_path / "head.zip", tmp_path)
    (tmp_path / "images").mkdir()
    for image in sorted((heads[0] / "images").iterdir())[:2]:
        shutil.copy(image, tmp_path / "images")
    alone = predict_alone(bundle, tmp_path / "images", tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    assert predict(trained, tmp_path / "images", tmp_path / "here", device="cpu") == 0
    assert points(tmp_path / "alone") == points(tmp_path / "here")
    # The other packages are refused indeed: one that is needed and no longer listed is missed.
    edit(bundle / "configs" / "metadata.json", lambda c: c["required_packages_version"].pop("fire"))
    alone = predict_alone(bundle, tmp_path / "images", tmp_path / "less")
    assert alone.returncode != 0 and "No module named 'fire'" in alone.stderr


def test_pictures_of_a_case_are_handed_on_only_where_it_is_said(trained, copy_of, tmp_path, capsys):
    bundle = copy_of(trained, "pictured")
    (bundle / "atlas" / "nose_slices.jpg").write_bytes(b"a slice")
    edit(bundle / "atlas" / "atlas.json", lambda c: c["landmarks"][2]["pictures"].append("nose_slices.jpg"))
    for with_atlas, said in ((False, "1 picture of a case in atlas/ were left out"), (True, "are in the package")):
        assert package(bundle, tmp_path / "p.zip", with_atlas=with_atlas, overwrite=True) == 0
        assert said in capsys.readouterr().out
        with zipfile.ZipFile(tmp_path / "p.zip") as content:
            assert ("pictured/atlas/nose_slices.jpg" in content.namelist()) is with_atlas
            rows = json.loads(content.read("pictured/atlas/atlas.json"))["landmarks"]
            assert rows[2]["pictures"] == ["nose.png", *(["nose_slices.jpg"] if with_atlas else [])]
            card = content.read("pictured/docs/README.md").decode()
        assert ("1 of its pictures show the image of a case" in card) is with_atlas


def test_the_test_of_the_zoo_passes_and_fails_with_a_broken_bundle(trained, tmp_path):
    assert package(trained, tmp_path / "head.zip") == 0
    bundle = unpacked(tmp_path / "head.zip", tmp_path / "zoo")
    test = tmp_path / "test_head_blobs.py"
    weights = (bundle / "models" / "model.pt").read_bytes()
    assert failures_of_zoo_test(test, bundle) == set()
    # It trains a copy.
    assert (bundle / "models" / "model.pt").read_bytes() == weights
    assert {path.name for path in bundle.iterdir()} == {"LICENSE", "atlas", "configs", "docs", "models", "scripts"}
    edit(bundle / "configs" / "train.json", lambda c: c.pop("optimizer"))
    assert failures_of_zoo_test(test, bundle) == {"test_train_eval_config"}
    edit(bundle / "configs" / "inference.json", lambda c: c.pop("evaluator"))
    assert failures_of_zoo_test(test, bundle) == {"test_train_eval_config", "test_infer_config"}


def test_the_same_bundle_gives_the_same_zip_and_nothing_is_replaced_unasked(trained, tmp_path):
    digests = set()
    for folder in ("a", "b"):
        assert package(trained, tmp_path / folder / "head.zip") == 0
        digests.add(hashlib.sha256((tmp_path / folder / "head.zip").read_bytes()).hexdigest())
    assert len(digests) == 1
    with pytest.raises(UserError, match="exists already"):
        package(trained, tmp_path / "a" / "head.zip")
    (tmp_path / "a" / "head.zip").unlink()
    with pytest.raises(UserError, match=r"test_head_blobs\.py: exists already"):
        package(trained, tmp_path / "a" / "head.zip")
    assert package(trained, tmp_path / "a" / "head.zip", overwrite=True) == 0


def test_large_weights_are_listed_with_their_hash(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, "LARGEST_KB", 50)
    assert package(trained, tmp_path / "head.zip", weights_url="https://x.org/files/") == 0
    bundle = unpacked(tmp_path / "head.zip", tmp_path / "out")
    assert not (bundle / "models" / "model.pt").exists()
    listed = (bundle / "large_files.yml").read_text()
    digest = hashlib.sha256((trained / "models" / "model.pt").read_bytes()).hexdigest()
    assert 'path: "models/model.pt"' in listed and "https://x.org/files/model.pt" in listed and digest in listed
    assert "upload" in capsys.readouterr().out


def test_only_the_weights_that_are_read_are_handed_on(trained, copy_of):
    bundle = copy_of(trained)
    for fold in (0, 1, 2):
        folder = bundle / "models" / f"fold_{fold}"
        folder.mkdir(exist_ok=True)
        torch.save({"weight": torch.zeros(1)}, folder / "model.pt")
        (folder / "latest.pt").write_bytes(b"state")
    assert not [name for name in shared_content(bundle) if "fold" in name]
    (bundle / "models" / "ensemble.json").write_text('{"files": ["fold_0/model.pt", "fold_2/model.pt"]}')
    kept = {name for name in shared_content(bundle) if "fold" in name}
    assert kept == {"models/fold_0/model.pt", "models/fold_2/model.pt"}
    (bundle / "models" / "fold_2" / "model.pt").unlink()
    with pytest.raises(UserError, match=r"fold_2/model\.pt, which is not there"):
        shared_content(bundle)


def test_names_of_cases_are_refused(trained, copy_of, tmp_path):
    bundle = copy_of(trained)
    case = json.loads((bundle / "data" / "datalist.json").read_text())["training"][0]["case"]
    readme = bundle / "docs" / "README.md"
    readme.write_text(readme.read_text() + f"\nThe worst was {case}.\n")
    with pytest.raises(UserError, match=f"docs/README.md: {case}"):
        package(bundle, tmp_path / "head.zip")
    assert not list(tmp_path.glob("*.zip"))


def test_a_case_whose_name_is_a_word_can_be_allowed(trained, copy_of, tmp_path):
    """`image` stands in every config; who says that it is no person's name gets the package."""
    bundle = copy_of(trained)
    edit(bundle / "data" / "datalist.json", lambda c: c["training"][0].update(case="image"))
    with pytest.raises(UserError, match=r"image.*--allow NAME"):
        package(bundle, tmp_path / "head.zip")
    assert package(bundle, tmp_path / "head.zip", allow=["image"]) == 0


def test_a_place_that_says_nothing_of_anybody_is_no_leak(trained, copy_of, tmp_path):
    """Images below /data, whose name stands in every train.json as a folder of the bundle."""
    bundle = copy_of(trained)
    for name in ("configs/train.json", "data/datalist.json"):
        edit(bundle / name, lambda c: c.update(dataset_dir="/data"))
    assert package(bundle, tmp_path / "head.zip") == 0
    place = json.loads((unpacked(tmp_path / "head.zip", tmp_path) / "configs" / "train.json").read_text())[
        "dataset_dir"
    ]
    assert place == "/path/to/dataset"
    edit(bundle / "data" / "datalist.json", lambda c: c.update(dataset_dir="/data/hospital"))
    readme = bundle / "docs" / "README.md"
    readme.write_text(readme.read_text() + "\nFrom /data/hospital.\n")
    with pytest.raises(UserError, match="/data/hospital"):
        package(bundle, tmp_path / "again" / "head.zip")


def test_a_member_outside_of_the_models_is_not_handed_on(trained, copy_of, tmp_path):
    bundle = copy_of(trained)
    (tmp_path / "secret.pt").write_bytes(b"secret")
    (bundle / "models" / "ensemble.json").write_text(json.dumps({"files": ["../../secret.pt"]}))
    with pytest.raises(UserError, match="outside of models"):
        shared_content(bundle)


@pytest.mark.parametrize("name", ["head-ct v2", "2d_heads", 'a"b'])
def test_the_test_of_the_zoo_is_python_whatever_the_bundle_is_called(name):
    tree = ast.parse(zoo_test(name, [8, 8, 8], [1.0, 1.0, 1.0], 1))
    (case,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert case.name.startswith("Test")


def test_leaks_are_whole_words():
    content = {"a.json": b"case_10 /data/x", "scripts/b.py": b"case_1", "c.md": b"of case_1, case_2"}
    assert leaks(content, ["case_1"], []) == ["c.md: case_1"]
    assert leaks(content, [], ["/data/x"]) == ["a.json: /data/x"]
    assert leaks(content, [], []) == []


@pytest.mark.parametrize("kind", ["no zip", "no bundle", "untrained", "no results", "version"])
def test_what_cannot_be_packaged_is_one_line(trained, two_stage_bundle, tmp_path, kind):
    bundle, output, options, words = {
        "no zip": (trained, "head.tar", {}, "must end in .zip"),
        "no bundle": (tmp_path, "head.zip", {}, "is no bundle"),
        "untrained": (two_stage_bundle, "head.zip", {}, "auto_config train"),
        "version": (trained, "head.zip", {"version": "two"}, "must be three numbers"),
        "no results": (trained, "head.zip", {"results": tmp_path}, "metrics.json: is not what `evaluate` writes"),
    }[kind]
    with pytest.raises(UserError, match=words):
        package(bundle, tmp_path / output, **options)
    assert list(tmp_path.iterdir()) == []


def test_sections_are_replaced_or_put_in_their_place():
    text = "# T\n\n## Data\nold\n\n## Usage\nrun\n"
    assert with_section(text, "Data", "new") == "# T\n\n## Data\nnew\n\n## Usage\nrun\n"
    assert with_section(text, "Performance", "p", before="Usage").index("## Performance") < text.index("## Usage") + 4
    assert with_section(text, "Citation", "c").endswith("run\n\n## Citation\nc\n\n")


def test_numbers_of_the_card_are_those_of_the_evaluation():
    block = {"mean": 1.234, "median": 1.0, "p95": None, "max": 3.0, "n": 4}
    metrics = {
        "unit": "mm",
        "mre_mm": block,
        "sdr": {"2": 75.0, "4": None},
        "per_landmark": {"a|b": {"mre_mm": block, "mre_interval": [0.5, 2.0]}},
        "mean_shape_baseline": None,
        "mre_interval": [1.0, 1.5],
        "cases": {"evaluated": 2, "training": []},
    }
    text = performance(metrics)
    assert "| all landmarks | 4 | 1.23 | 1 to 1.5 | 1 | - | 3 |" in text
    assert "| a/b | 4 | 1.23 | 0.5 to 2 | 1 | - | 3 |" in text
    assert "75 % within 2 mm" in text and "within 4" not in text
    assert "not trained on" in text
    assert "mean shape" not in text


def test_robustness_is_what_the_calibration_spoiled():
    spoilings = {"noise": {"ok": 1, "failed": 2}, "turned, harmless": {"check": 3}}
    text = robustness({"verdict": {"spoilings": spoilings}})
    assert "| noise | 1 | 0 | 2 |" in text and "| turned, harmless | 0 | 3 | 0 |" in text
    assert robustness({"verdict": None}) is None
    assert robustness({}) is None


def test_reliability_names_the_highest_level_whose_regions_are_all_finite():
    numbers = {"cases": 7, "source": "folds", "notes": [], "landmarks": ["a", "b"], "levels": [0.5, 0.8, 0.9, 0.95]}
    for rows, said in (
        (
            [[1, 1], [2, 2], [3, None], [None, None]],
            "1 of 2 landmarks are infinite**; ask for `auto_config predict --level 0.8`",
        ),
        (
            [[1, 1], [2, None], [None, None], [None, None]],
            "2 of 2 landmarks are infinite**; ask for `auto_config predict --level 0.5`",
        ),
        ([[None, 1], [None, 2], [None, 3], [None, None]], "at no level are all of them finite"),
    ):
        assert said in reliability({**numbers, "regions": {"ball_mm": rows}})
    assert "infinite" not in reliability({**numbers, "regions": {"ball_mm": [[1, 1], [2, 2], [3, 3], [None, None]]}})


def test_the_atlas_of_a_card_says_what_nobody_defined():
    rows = [{"name": "a", "definition": ""}, {"name": "b", "definition": "the tip"}]
    assert "**1 of its 2 landmarks have no definition**" in atlas_section({"landmarks": rows}, 0)
    assert "definition**" not in atlas_section({"landmarks": rows[1:]}, 0)


def test_what_create_was_told_is_in_the_bundle_and_package_replaces_it(heads, tmp_path):
    bundle = tmp_path / "told"
    words = {"authors": "A. Nn", "copyright": "A. Nn 2026", "data_source": "clinic", "data_license": "CC0"}
    assert create(heads[0], bundle, network="tiny", workers=1, changes="first skulls", **words) == 0
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert {key: metadata[key] for key in ("authors", "copyright", "data_source")} == {
        key: words[key] for key in ("authors", "copyright", "data_source")
    }
    assert metadata["changelog"] == {"0.1.0": "first skulls"}
    card = (bundle / "docs" / "README.md").read_text()
    assert "\n## Authors\nA. Nn\n" in card
    assert "Source: clinic\n" in card and "Licence of the data: CC0\n" in card
    assert (bundle / "docs" / "data_license.txt").read_text() == "CC0\n"
    later = data_section(card, "two clinics", None)
    assert later.count("Source: ") == 1 and "Source: two clinics" in later and "Licence of the data: CC0" in later


def test_a_package_is_trained_without_the_weights_that_its_training_began_with(trained, copy_of):
    bundle = copy_of(trained)
    train = bundle / "configs" / "train.json"
    before = json.loads(shared_content(bundle)["configs/train.json"])
    edit(
        train, lambda c: c["train"]["handlers"].insert(0, {"_target_": LOADER, "network": "@network_def", "path": "p"})
    )
    assert json.loads(shared_content(bundle)["configs/train.json"]) == before
    assert LOADER in train.read_text()


def test_the_name_of_a_bundle_may_hold_a_mark_of_the_text():
    text = zoo_test("CAMEL_heads SHAPE_HERE", [8, 8, 8], [1.0, 1.0, 1.0], 1)
    assert '"models/CAMEL_heads SHAPE_HERE"' in text
    assert "SHAPE = (8, 8, 8)" in text
