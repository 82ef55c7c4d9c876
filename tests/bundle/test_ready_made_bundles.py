"""Every bundle in bundles/ is what the tool writes today from its plan; it is labelled, small, and predicts."""

import csv
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from auto_config.bundle.atlas.document import DOCUMENT, atlas_files, case_pictures, with_case_pictures
from auto_config.bundle.opened import open_bundle
from auto_config.bundle.reached import SCRIPTS, reached_scripts
from auto_config.bundle.writer import config_files
from auto_config.commands.predict import predict
from auto_config.commands.verify import verify
from auto_config.demo.afids import NAMES
from auto_config.demo.brains import load_template, make_brain
from auto_config.fingerprint.summary import Fingerprint
from auto_config.packaging.card import USUAL_LEVEL, reliability, says_accuracy
from auto_config.planning import Plan, PlanOptions, make_plan
from auto_config.public_datasets.afids import DESCRIPTIONS

BUNDLES = sorted(path.parent.parent for path in Path(__file__).parents[2].glob("bundles/*/configs/plan.json"))
DEMO = next(path for path in BUNDLES if path.name == "brain_mri_afids32_demo")
SKULL = next(path for path in BUNDLES if path.name == "mouse_skull_ct_51")
MEGABYTES = 2**20


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def without_versions(metadata):
    text = json.dumps({k: v for k, v in metadata.items() if not k.endswith(("_version", "version"))})
    return re.sub(r"landmark-bundles \d+\.\d+\.\d+", "landmark-bundles", text)


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_plan_and_configs_are_those_of_today(bundle):
    kept = read(bundle / "configs/plan.json")
    decided = Plan.from_dict(kept["decisions"])
    split = {name: decided.decisions[name] for name in ("test", "folds")}
    fingerprint = Fingerprint.from_dict(kept["fingerprint"])
    plan = make_plan(fingerprint, PlanOptions(method=decided.value("method"), network=decided.value("network")), split)
    assert plan.to_dict() == kept["decisions"]
    train = read(bundle / "configs/train.json")
    files = config_files(
        bundle.name,
        plan,
        read(bundle / "configs/landmarks.json"),
        cases=fingerprint.cases,
        dataset_dir=train["dataset_dir"],
        seed=train["seed"],
    )
    metadata = files.pop("configs/metadata.json")
    for name, content in files.items():
        assert json.loads(json.dumps(content)) == read(bundle / name), name
    said = read(bundle / "configs/metadata.json")
    warning = "SYNTHETIC training data, for demonstration only. " if bundle == DEMO else ""
    assert without_versions({"": said["description"]}) == without_versions({"": warning + metadata["description"]})
    words = {key: said[key] for key in ("description", "changelog", "authors", "copyright", "data_source")}
    assert without_versions(said) == without_versions(metadata | words)


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_the_atlas_is_that_of_today(bundle):
    judged = bundle / "configs/verdict.json"
    pose = Plan.from_dict(read(bundle / "configs/plan.json")["decisions"]).value("pose")["kind"]
    rows = read(bundle / DOCUMENT)["landmarks"]
    # Those of the demo are of the code, as `auto_config demo` takes them: read from the file they could never be wrong.
    said = DESCRIPTIONS if bundle == DEMO else {row["name"]: row["definition"] for row in rows}
    verdict = read(judged) if judged.is_file() else None
    files = atlas_files(read(bundle / "configs/landmarks.json"), verdict, said, upright=pose == "upright")
    files = with_case_pictures(files, {row["name"]: row["pictures"] for row in rows})
    assert files[DOCUMENT] == (bundle / DOCUMENT).read_bytes()
    kept = {path.relative_to(bundle).as_posix(): path.read_bytes() for path in (bundle / "atlas").iterdir()}
    slices = case_pictures(kept)
    assert set(files) == set(kept) - set(slices)
    # Only the brains of the demo are nobody's.
    assert len(slices) in ({0, len(rows)} if bundle == DEMO else {0})


def test_every_landmark_of_the_demo_is_defined():
    definitions = {row["name"]: row["definition"] for row in read(DEMO / DOCUMENT)["landmarks"]}
    assert definitions.keys() == set(NAMES)
    assert [name for name, definition in definitions.items() if not definition.strip()] == []
    assert definitions["L MB"] == "left mammillary body"


def test_the_card_of_the_skulls_says_that_nobody_defined_its_points():
    page = (SKULL / "docs/README.md").read_text(encoding="utf-8")
    assert {row["definition"] for row in read(SKULL / DOCUMENT)["landmarks"]} == {""}
    assert "**51 of its 51 landmarks have no definition**" in page
    assert "definitions of them were not found" in page
    assert read(SKULL / "configs/metadata.json")["data_source"] in page


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_the_card_names_a_level_at_which_regions_are_finite(bundle):
    page = (bundle / "docs/README.md").read_text(encoding="utf-8")
    calibration = read(bundle / "models/calibration.json")
    assert reliability(calibration) in page
    assert read(bundle / "configs/inference.json")["region_level"] == USUAL_LEVEL
    (level,) = re.findall(r"predict --level ([\d.]+)`", page)
    rows = dict(zip(calibration["levels"], calibration["regions"]["ball_mm"], strict=True))
    assert None in rows[USUAL_LEVEL]
    assert None not in rows[float(level)]


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_the_card_knows_that_presence_is_decided(bundle):
    page = (bundle / "docs/README.md").read_text(encoding="utf-8")
    assert read(bundle / "models/calibration.json")["presence"]
    assert "Presence is decided with an AUROC" in page
    assert "always predicted" not in page
    assert "decided by what the calibration learnt" in page.partition("## Limitations")[2]
    assert says_accuracy(page)


def test_the_first_page_names_that_level_for_the_skulls():
    page = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert f"predict bundles/{SKULL.name} skull.nii.gz out --level 0.8`" in page


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_scripts_are_those_of_today(bundle):
    configs = [read(path) for path in sorted((bundle / "configs").glob("*.json"))]
    ours = {path: (SCRIPTS / path).read_bytes() for path in reached_scripts(configs)}
    theirs = {path.relative_to(bundle / "scripts"): path.read_bytes() for path in (bundle / "scripts").rglob("*.py")}
    assert ours == theirs, "run: python benchmarks/refresh_bundles.py"


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_a_bundle_is_small_and_carries_no_data_and_no_path(bundle):
    assert {path.name for path in bundle.iterdir()} <= {"LICENSE", "atlas", "configs", "docs", "models", "scripts"}
    assert (bundle / "models/model.pt").stat().st_size < 5 * MEGABYTES
    assert read(bundle / "configs/train.json")["dataset_dir"] == "/path/to/dataset"
    page = (bundle / "docs/README.md").read_text(encoding="utf-8")
    assert ("Synthetic data" in page) == (bundle == DEMO)
    assert re.search(r"mean (error|mm)", page.partition("## Performance")[2])


def test_the_demo_bundle_finds_the_landmarks_of_a_new_synthetic_brain(tmp_path):
    brain = make_brain(load_template(), seed=7, index=0)
    truth = dict(zip(NAMES, brain.points, strict=True))
    image = tmp_path / "brain.nii.gz"
    brain.image.to_filename(image)
    torch.manual_seed(0)
    opened = open_bundle(DEMO, device="cpu")
    found = opened.predict(opened.preprocess(image))["result"]["landmarks"]
    errors = [np.linalg.norm(np.asarray(item["world"]) - truth[item["name"]]) for item in found]
    assert np.mean(errors) < 2.5


def test_the_skull_bundle_finds_51_landmarks_and_does_not_trust_them_where_there_is_no_skull(tmp_path, capsys):
    """As it lies in the repository, by the command that its page names, on a bright ball of the size of a skull."""
    spacing, size = 0.3, np.array([40, 70, 36])
    across = (np.indices(size).reshape(3, -1).T - size / 2) / (size / 2.5)
    ball = np.where(np.linalg.norm(across, axis=1) < 1, 1000.0, -1000.0).reshape(size)
    noisy = ball + np.random.default_rng(0).normal(0, 50, size)
    nib.save(nib.Nifti1Image(noisy.astype(np.float32), np.diag([spacing] * 3 + [1.0])), tmp_path / "ball.nii.gz")
    assert predict(SKULL, tmp_path / "ball.nii.gz", tmp_path / "out", device="cpu") == 0
    said = capsys.readouterr().out
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 51
    (verdict,) = {row["verdict"] for row in rows}
    assert verdict in {"check", "failed"} and verdict in said and "training shapes" in said
    markups = read(tmp_path / "out" / "ball.mrk.json")["markups"][0]
    assert markups["coordinateSystem"] == "LPS"
    found = [point["label"] for point in markups["controlPoints"]]
    assert found == [row["name"] for row in read(SKULL / "configs/landmarks.json")["landmarks"]]
    assert len(set(found)) == 51


@pytest.mark.usefixtures("warm_python")
@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_a_bundle_passes_the_checks_of_the_zoo(bundle, capsys):
    assert verify(bundle) == 0, capsys.readouterr().out
    said = capsys.readouterr().out.splitlines()
    # Its images are not here, the schema is on the network, and nobody has uploaded its weights.
    others = [line for line in said[:-1] if not line.startswith("ok ")]
    allowed = (
        *("properties of training", "properties of evaluation", "metadata: schema", "style of the code"),
        *("no file above 1024 kB", "checked with the versions", "metadata: authors"),
        *("onnx_export: not installed", "JSON in the form of the zoo's commit hook"),
    )
    assert [line for line in others if not line[13:].startswith(allowed)] == []
    assert [line for line in said if line.startswith("ok ") and line.endswith(("verify_net_in_out", "scripted"))][1:]
