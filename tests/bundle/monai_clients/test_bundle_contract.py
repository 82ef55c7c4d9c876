"""What MONAI, its command line and its clients expect of a bundle, asked through their own code."""

import csv
import json
import re
import subprocess
from pathlib import Path

import pytest
from bundle_tools import ask, config

from auto_config.bundle.json_text import json_text
from auto_config.bundle.metadata import channel_def, installed
from auto_config.commands.train import train

pytestmark = pytest.mark.usefixtures("warm_python")

TRAIN = ("run", "training", "--config_file", "configs/train.json")
EVALUATE = ("run", "evaluating", "--config_file", "['configs/train.json','configs/evaluate.json']")
CONFIGS = ("train", "evaluate", "inference", "multi_gpu_train", "metadata", "landmarks", "plan")


def cases_of(folder):
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        return {row["case"] for row in csv.DictReader(stream)}


def names_of(bundle, split, fold=0):
    items = json.loads((bundle / "data" / "datalist.json").read_text())[split]
    return {item["case"] for item in items if split == "test" or item["fold"] == fold}


@pytest.fixture(scope="module")
def bundles(two_stage_bundle, one_stage_bundle):
    return {"two": two_stage_bundle, "one": one_stage_bundle}


@pytest.fixture(scope="module")
def trained(two_stage_bundle, server, tmp_path_factory):
    """A bundle that was moved after it was written, and that trained where the tool cannot be imported."""
    moved = tmp_path_factory.mktemp("elsewhere") / "moved bundle"
    subprocess.run(["cp", "-r", str(two_stage_bundle), str(moved)], check=True)
    forbid = moved.parent / "forbid.json"
    forbid.write_text(json.dumps({"+initialize": ["$sys.modules.update(auto_config=None)"]}))
    server.monai(
        moved.parent,
        *("run", "training", "--config_file", f"['{moved}/configs/train.json','{forbid}']"),
        *("--bundle_root", moved, "--train#trainer#max_epochs", 1),
        # Not a folder from which the repository could be found.
        cwd=moved.parent,
    )
    return moved


def test_all_properties_are_there(bundles, server, tmp_path):
    checks = []
    for root in bundles.values():
        for kind, configs in (("train", ["train"]), ("train", ["train", "evaluate"]), ("infer", ["inference"])):
            overrides = {"output_dir": str(tmp_path)}
            if kind == "infer":
                overrides["dataset_dir"] = config(root, "train")["dataset_dir"]
            checks.append({"bundle": str(root), "type": kind, "configs": configs, "overrides": overrides})
    assert ask(server, tmp_path, "workflow_checks", "properties", checks) == [[]] * 6
    for root in bundles.values():
        # In a process of its own, because it opens a process group.
        check = {"bundle": str(root), "type": "train", "configs": ["train", "multi_gpu_train"]}
        check["overrides"] = {"output_dir": str(tmp_path)}
        assert ask(server, tmp_path, "workflow_checks", "properties", [check]) == [[]]


def test_the_network_has_the_shapes_that_the_metadata_tells(bundles, server):
    for root in bundles.values():
        server.monai(
            root,
            *("verify_net_in_out", "--net_id", "network_def", "--device", "cpu"),
            *("--meta_file", "configs/metadata.json", "--config_file", "configs/inference.json"),
        )


def test_a_bundle_works_after_a_move_and_without_the_tool(trained, server, tmp_path):
    assert (trained / "models" / "model.pt").is_file()
    status, output = server.run(
        *("monai.bundle", "run", "--config_file", trained / "configs" / "inference.json", "--bundle_root", trained),
        *("--dataset_dir", config(trained, "train")["dataset_dir"], "--output_dir", tmp_path / "out"),
        cwd=tmp_path,
    )
    assert status == 0, output
    images = Path(config(trained, "train")["dataset_dir"])
    assert cases_of(tmp_path / "out") == {path.name[:-7] for path in images.iterdir()}
    for path in trained.joinpath("scripts").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "auto_config" not in re.sub(r'"""[\s\S]*?"""|#.*|"[^"]*"|\'[^\']*\'|f"[^"]*"', "", text), path


@pytest.mark.parametrize("run_id", [["training"], ["run"], []])
def test_run_ids_of_training(bundles, run_id, server, copy_of):
    bundle = copy_of(bundles["one"])
    server.monai(bundle, "run", *run_id, "--config_file", "configs/train.json", "--train#trainer#max_epochs", 1)
    assert (bundle / "models" / "model.pt").is_file()


def test_evaluating_reads_the_validation_or_the_test_cases(trained, server, tmp_path):
    for split, expected in (("validation", names_of(trained, "training")), ("test", names_of(trained, "test"))):
        out = tmp_path / split
        server.monai(trained, *EVALUATE, "--output_dir", out, *(["--split", "test"] if split == "test" else []))
        assert cases_of(out) == expected
        assert (out / "metrics.csv").is_file()
        details = (out / "mre_mm_raw.csv").read_text()
        assert all(case in details for case in expected)
    assert names_of(trained, "training")
    assert names_of(trained, "test")


def test_evaluating_never_judges_weights_on_their_own_training_cases(bundles, server, copy_of, tmp_path):
    bundle = copy_of(bundles["one"])
    # What `train --fold all` leaves at the top are the weights of one fold; these would show if they were loaded.
    server.monai(bundle, *TRAIN, "--train#trainer#max_epochs", 1, "--fold", 1)
    (bundle / "models" / "model.pt").write_bytes(b"weights that saw the validation cases")
    server.monai(bundle, *EVALUATE, "--fold", 1, "--output_dir", tmp_path / "one")
    assert cases_of(tmp_path / "one") == names_of(bundle, "training", fold=1)
    status, output = server.run("monai.bundle", *EVALUATE, "--output_dir", tmp_path / "zero", cwd=bundle)
    assert status != 0
    assert "fold 0 was not trained" in output
    assert not (tmp_path / "zero" / "predictions.csv").exists()


def test_the_tool_trains_through_the_command_line_of_monai(bundles, copy_of):
    bundle = copy_of(bundles["two"])
    assert train(bundle, max_epochs=1, fold=1, learning_rate=0.001) == 0
    assert (bundle / "models" / "fold_1" / "model.pt").is_file()


# Each top-level number with another value, and where that must arrive.
INFERER = "get('inferer')"
WINDOW = "get('window')"
EFFECTS = {
    "output_dir": ("OTHER", "[h for h in get('train#handlers') if hasattr(h, '_writer')][0]._writer.log_dir"),
    "cache_dir": ("OTHER", "str(get('images').cache_dir)"),
    "cache_dtype": ("float16", "get('images').dtype"),
    "fold": (1, "str(get('checkpoints').fold_folder)[-6:]", "fold_1"),
    "cut_share": (0.5, "[t for t in get('train#preprocessing').transforms if hasattr(t, 'jitter')][0].cut_share"),
    "seed": (5, "get('train#dataloader').dataset.seed"),
    "pictures": (1, "get('tracker')._pictures"),
    "resume": (True, "get('checkpoints')._resume"),
    "keep": ("last", "get('checkpoints')._keep"),
    "keep_ensemble": (True, "get('checkpoints')._keep_ensemble"),
    "keep_better": (True, "get('checkpoints')._keep_better"),
    "keep_tolerance": (0.2, "get('checkpoints')._keep_tolerance"),
    "spacing": ([3.0, 3.0, 3.0], f"list({INFERER}.spacing)"),
    "pad_value": (-7.0, f"{INFERER}.pad_value"),
    "coarse_factor": ([3, 3, 3], f"{INFERER}.factor"),
    "coarse_patch_size": ([8, 8, 8], f"list({WINDOW}.roi_size)"),
    "patch_size": ([8, 8, 8], f"{INFERER}.crop_size"),
    "overlap": (0.25, f"{WINDOW}.overlap"),
    "plausibility": (False, f"{INFERER}.plausibility"),
    "shape_prior": (True, f"{INFERER}.shape_prior"),
    "batch_size": (3, "get('train#dataloader').batch_size"),
    "crops_per_image": (2, "get('train#dataloader').dataset[9]['fine']['image'].shape[0]"),
    "jitter_mm": (0.125, "[t for t in get('train#preprocessing').transforms if hasattr(t, 'jitter')][0].jitter"),
    "iterations_per_epoch": (4, "get('train#trainer').state.epoch_length"),
    "val_interval": (7, "get('schedule')._validation.interval"),
    "learning_rate": (0.5, "get('optimizer').param_groups[0]['lr']"),
    "amp": (False, "get('train#trainer').inferer.amp"),
    "num_workers": (2, "get('train#dataloader').num_workers"),
    "device": ("cpu", "str(next(get('network').parameters()).device)"),
    "time_budget": (60.0, "get('schedule').budget is not None", True),
    "train#trainer#max_epochs": (9, "get('train#trainer').state.max_epochs"),
}
# The rest: parts, which are replaced as wholes, and paths that must exist.
PARTS = {
    *(
        "imports",
        "bundle_root",
        "dataset_dir",
        "landmarks",
        "datalist",
        "started",
        "predictions_after",
        "deterministic",  # tests/bundle/configs/test_determinism.py
        "network_def",
        "network",
    ),
    *("target", "loss", "window", "decoder", "coarse_target", "coarse_loss", "coarse_decoder", "inferer", "optimizer"),
    *("augmentation", "preprocessing", "images", "labels", "train"),
    *("validate", "schedule", "checkpoints", "progress", "shape_fit", "tracker", "initialize", "run", "training"),
    "coarse_errors",  # tests/bundle/rounds/test_out_of_fold_jitter.py: a file that is read at once
    "member",  # tests/calibration/test_seeds_in_use.py: the folder of a further seed's weights
    "wandb",  # tests/bundle/monai_clients/test_tracked_training.py; it need not be installed
}


def test_every_number_at_the_top_can_be_overridden(bundles, server, tmp_path):
    assert set(config(bundles["two"], "train")) - PARTS == set(EFFECTS) - {"train#trainer#max_epochs"}
    # What the objects write goes elsewhere.
    other = str(tmp_path / "other")
    rules = {name: [other if part == "OTHER" else part for part in rule] for name, rule in EFFECTS.items()}
    usual = {"output_dir": str(tmp_path), "cache_dir": None}
    root = str(bundles["two"])
    checks = [{"bundle": root, "overrides": {**usual, name: r[0]}, "expression": r[1]} for name, r in rules.items()]
    found = dict(zip(rules, ask(server, tmp_path, "workflow_checks", "effects", checks), strict=True))
    assert found == {name: rule[2] if len(rule) == 3 else rule[0] for name, rule in rules.items()}


def test_numbers_of_a_real_training_are_overridden(bundles, server, copy_of):
    bundle = copy_of(bundles["two"])
    server.monai(
        bundle,
        *(*TRAIN, "--fold", 2, "--batch_size", 1, "--iterations_per_epoch", 2, "--num_workers", 1, "--overlap", 0.25),
        *("--seed", 3, "--amp", False, "--crops_per_image", 2, "--cache_dir", bundle / "other", "--device", "cpu"),
        *("--spacing", "[2.5,2.5,2.5]", "--train#trainer#max_epochs", 1),
    )
    assert (bundle / "models" / "fold_2" / "model.pt").is_file()
    assert any((bundle / "other").iterdir())
    assert not (bundle / "cache").exists()


def test_every_part_can_be_built(bundles, server, tmp_path):
    parts = [name for name in config(bundles["one"], "train") if name not in ("run", "training", "initialize")]
    root = str(bundles["one"])
    usual = {"output_dir": str(tmp_path), "cache_dir": None}
    checks = [{"bundle": root, "overrides": usual, "expression": f"get({name!r}) is None"} for name in parts]
    found = ask(server, tmp_path, "workflow_checks", "effects", checks)
    absent = {name for name, nothing in zip(parts, found, strict=True) if nothing}
    assert absent == {"time_budget", "started", "cache_dir", "wandb", "member"}


def test_preprocessing_takes_what_monai_label_adds(bundles, server, tmp_path):
    # Its server puts the path beside the image, under a key that MONAI's Spacingd takes for meta data.
    root = bundles["two"]
    image = str(min(Path(config(root, "train")["dataset_dir"]).iterdir()))
    alone, beside = ({"image": image}, {"image": image, "image_path": image})
    checks = [
        {"bundle": str(root), "config": "inference", "overrides": {}, "expression": expression}
        for expression in (
            f"torch.equal(get('preprocessing')({alone})['image'], get('preprocessing')({beside})['image'])",
            f"get('preprocessing')({beside})['image_path']",
        )
    ]
    assert ask(server, tmp_path, "workflow_checks", "effects", checks) == [True, image]


def test_files_are_pretty_and_hold_no_name_and_no_import_of_scripts(bundles):
    for key, root in bundles.items():
        for name in CONFIGS:
            path = root / "configs" / f"{name}.json"
            text = path.read_text(encoding="utf-8")
            assert text == json_text(json.loads(text))
            assert "import scripts" not in text
            if name in ("landmarks", "metadata"):
                continue
            strings = re.findall(r'"((?:[^"\\]|\\.)*)"', text)
            expressions = [value for value in strings if value[:1] in "$@%" and value]
            for item in config(root, "landmarks")["landmarks"]:
                quoted = re.compile(rf"""['"]{re.escape(item["name"])}['"]""")
                assert not [value for value in expressions if quoted.search(value)], (key, name, item["name"])
        assert (root / "LICENSE").is_file()
        assert (root / "configs" / "logging.conf").is_file()
        assert (root / "scripts" / "__init__.py").is_file()


def test_metadata_is_what_clients_and_the_zoo_read(bundles):
    for root in bundles.values():
        metadata, landmarks = config(root, "metadata"), config(root, "landmarks")["landmarks"]
        outputs = metadata["network_data_format"]["outputs"]["pred"]
        slugs = [item["slug"] for item in landmarks]
        assert outputs["num_channels"] == len(landmarks)
        assert outputs["channel_def"] == {"0": "background", **{str(i + 1): slug for i, slug in enumerate(slugs)}}
        # Clients make the names lower case and use the index as the value of a label.
        assert len({slug.lower() for slug in slugs}) == len(slugs)
        assert all(re.fullmatch(r"[a-z0-9_.-]+", slug) for slug in slugs)
        versions = [metadata[f"{name}_version"] for name in ("monai", "pytorch", "numpy")]
        versions += metadata["required_packages_version"].values()
        assert all(re.fullmatch(r"\d+(\.\w+)+", version) for version in versions), versions
        assert metadata["name"] == root.name
        # The blobs have no Hounsfield units, and nobody has said that they are MR.
        assert metadata["network_data_format"]["inputs"]["image"]["modality"] == "unknown"
        assert metadata["version"] in metadata["changelog"]


def test_versions_have_no_local_part(monkeypatch):
    monkeypatch.setattr("auto_config.bundle.metadata.version", lambda _: "2.15.0+cpu")
    assert installed("torch") == "2.15.0"
    assert channel_def(["b", "a"]) == {"0": "background", "1": "b", "2": "a"}
