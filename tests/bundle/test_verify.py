"""`verify`: each fault is named with its remedy, and what the tool writes passes whole."""

import json
import shutil
from pathlib import Path

import pytest
from bundle_tools import config, edit

from auto_config.commands.verify import verify
from auto_config.errors import UserError
from auto_config.verification.checks import findings_of
from auto_config.verification.files import check_files
from auto_config.verification.keys import check_keys
from auto_config.verification.metadata_checks import check_metadata

pytestmark = pytest.mark.usefixtures("warm_python")

SIZES = "no file above 1024 kB that large_files.yml does not list"
READY = Path(__file__).parents[2] / "bundles" / "brain_mri_afids32_demo"


@pytest.fixture
def bundle(tmp_path):
    """A copy of the trained bundle of the repository."""
    return Path(shutil.copytree(READY, tmp_path / READY.name))


def metadata(bundle, **changes):
    """Change keys of metadata.json; None removes one."""

    def change(content):
        for key, value in changes.items():
            content.pop(key) if value is None else content.update({key: value})

    edit(bundle / "configs" / "metadata.json", change)


def tensor(bundle, **changes):
    edit(bundle / "configs" / "metadata.json", lambda c: c["network_data_format"]["inputs"]["image"].update(changes))


def doubled(bundle):
    path = bundle / "configs" / "train.json"
    path.write_text(path.read_text().replace('"fold": 0,', '"fold": 0, "fold": 1,', 1))


def large(bundle):
    with (bundle / "models" / "old.pt").open("wb") as file:
        file.truncate(26_000_000)


def without_section(bundle):
    page = bundle / "docs" / "README.md"
    page.write_text(page.read_text(encoding="utf-8").replace("## Limitations\n", "## More\n"), encoding="utf-8")


def personal(bundle):
    edit(bundle / "configs" / "train.json", lambda c: c.update(dataset_dir="/home/ann/scans"))


def without(name, where):
    """Spoils a bundle: an id is taken out of a config."""

    def spoil(bundle):
        def change(config):
            *parents, last = where.split("#")
            for key in parents:
                config = config[key]
            del config[last]

        edit(bundle / "configs" / f"{name}.json", change)

    return spoil


def listed(*lines):
    """Spoils a bundle: its weights are only listed."""

    def spoil(bundle):
        (bundle / "models" / "model.pt").unlink()
        (bundle / "large_files.yml").write_text("large_files:\n" + "".join(f"{line}\n" for line in lines))

    return spoil


def changed(name, where, value):
    """Spoils a bundle: something else stands at an id of a config, which need not have been there."""

    def spoil(bundle):
        def change(config):
            *parents, last = where.split("#")
            for key in parents:
                config = config[key]
            config[last] = value

        edit(bundle / "configs" / f"{name}.json", change)

    return spoil


REQUIRED = {
    "inference": ("bundle_root device dataset_dir output_dir dataset evaluator network_def inferer"),
    "train": (
        "bundle_root device dataset_dir output_dir train train#trainer train#trainer#max_epochs train#dataset"
        " train#dataset#data train#handlers train#inferer validate validate#evaluator validate#handlers"
        " validate#dataset validate#dataset#data"
    ),
}
# Missing ids that are optional for MONAI, which therefore says nothing; the line names the id.
MISSING = {
    f"{name} without {where}": (without(name, where), "failed", where, f"define them in configs/{name}.json")
    for name, ids in REQUIRED.items()
    for where in ids.split()
}
VALIDATOR = {"_target_": "ValidationHandler", "validator": "@validate#evaluator", "interval": 5}
KEY_FAULTS = {
    **MISSING,
    "transforms in place": (
        changed("train", "validate#dataset#transform", {"_target_": "Compose", "transforms": []}),
        "failed",
        "validate#dataset#transform is not @validate#preprocessing",
        "define the part under that id",
    ),
    "no preprocessing": (
        without("inference", "preprocessing"),
        "failed",
        "dataset#transform refers to preprocessing, which is missing",
        "define the part",
    ),
    "another metric": (
        changed("train", "validate#evaluator#key_val_metric", "@validate#additional_metrics"),
        "failed",
        "validate#evaluator#key_val_metric is not @validate#key_metric",
        "define the part",
    ),
    "handlers elsewhere": (
        changed("inference", "evaluator#val_handlers", "$list(@others)"),
        "failed",
        "evaluator#val_handlers is not @handlers",
        "define the part",
    ),
    "own interval": (
        changed("train", "schedule#val_interval", 5),
        "failed",
        "schedule#val_interval is not @val_interval",
        '"@val_interval"',
    ),
    "no interval": (without("train", "val_interval"), "failed", "val_interval is missing", '"val_interval" at the top'),
    "a handler of MONAI": (
        changed("train", "train#handlers", [VALIDATOR]),
        "failed",
        "train#handlers#0#interval is not @val_interval",
        '"@val_interval"',
    ),
    "never validates": (without("train", "schedule"), "failed", "nothing validates", "ValidationHandler"),
}
LISTED_FAULTS = {
    "no address": (listed("- path: models/model.pt"), "failed", "models/model.pt has no url", "--weights_url"),
    "empty address": (listed("- path: models/model.pt", '  url: ""'), "failed", "has no url", "--weights_url"),
    "a folder": (listed("- path: models/model.pt", "  url: /data/model.pt"), "failed", "'/data/model.pt'", "http(s)"),
    "no host": (listed("- path: models/model.pt", "  url: https://"), "failed", "is 'https://'", "http(s)"),
    "other scheme": (listed("- path: models/model.pt", "  url: ftp://x.org/a"), "failed", "'ftp://x.org/a'", "http(s)"),
    "the second": (
        listed("- path: models/model.pt", "  url: https://x.org/a", '- path: "models/b.pt"', "  hash_val: 1"),
        "failed",
        "models/b.pt has no url",
        "http(s)",
    ),
    "no path": (listed("- url: https://x.org/a"), "failed", "entry 1 has no path", "a path in the bundle"),
    "outside": (listed("- path: ../model.pt", "  url: https://x.org/a"), "failed", "not in the bundle", "a path in"),
    "odd hash": (
        listed("- path: models/model.pt", "  url: https://x.org/a", "  hash_val: 12", "  hash_type: crc"),
        "failed",
        "hash_type of models/model.pt is 'crc'",
        "sha256",
    ),
    "nothing listed": (listed(), "failed", "it lists nothing", "--weights_url"),
}
FAULTS = {
    **KEY_FAULTS,
    **LISTED_FAULTS,
    "name": (lambda b: None, "note", "Head CT", "small letters"),
    "licence": (lambda b: (b / "LICENSE").unlink(), "failed", "LICENSE", "is missing"),
    "no inference": (
        lambda b: (b / "configs" / "inference.json").unlink(),
        "failed",
        "configs/inference.json",
        "create",
    ),
    "no weights": (lambda b: (b / "models" / "model.pt").unlink(), "failed", "models/model.pt", "train it"),
    "large": (large, "note", "models/old.pt (25391 kB)", "--weights_url"),
    "no package": (lambda b: (b / "scripts" / "__init__.py").unlink(), "failed", "__init__.py", "add an empty one"),
    "no section": (without_section, "note", "none called Limitations", "add them"),
    "no Python": (
        lambda b: (b / "scripts" / "__init__.py").write_text("one\ndef\n"),
        "failed",
        "scripts/__init__.py line 2",
        "create",
    ),
    "cut": (lambda b: (b / "configs" / "plan.json").write_text("{"), "failed", "plan.json", "repair"),
    "doubled": (doubled, "failed", "fold", "keep one"),
    "personal": (personal, "note", "configs/train.json (/home/ann/scans)", "--dataset_dir"),
    "no task": (lambda b: metadata(b, task=None), "failed", "task", "add them"),
    "no formats": (lambda b: metadata(b, network_data_format=None), "failed", "network_data_format", "add them"),
    "version": (lambda b: metadata(b, version="one"), "failed", "'one'", "0.1.0"),
    "changelog": (lambda b: metadata(b, version="0.2.0"), "failed", "0.2.0", "what is new"),
    "range": (lambda b: metadata(b, numpy_version=">=2"), "failed", "numpy '>=2'", "no range"),
    "local": (lambda b: metadata(b, pytorch_version="2.9.0+cpu"), "failed", "2.9.0+cpu", "+cpu"),
    "other version": (lambda b: metadata(b, numpy_version="1.0.0"), "note", "in place of 1.0.0", "would install"),
    "stars": (lambda b: tensor(b, spatial_shape=["*", "*", "*"]), "failed", "spatial_shape", "in voxels"),
    "no channels": (lambda b: tensor(b, num_channels="one"), "failed", "num_channels", "whole number"),
    "other name": (lambda b: metadata(b, name="heads"), "note", "'heads'", "same name"),
    "apps in a list": (lambda b: metadata(b, supported_apps=["x"]), "failed", 'object of texts, it is ["x"]', "take"),
    "app of a number": (lambda b: metadata(b, supported_apps={"x": 1}), "failed", '"x": 1', '{"monai-label": "0.8.5"}'),
    "no object": (
        lambda b: (b / "configs" / "inference.json").write_text("[]"),
        "failed",
        "configs/inference.json must be a JSON object, it holds a list",
        "create",
    ),
    "metadata no object": (
        lambda b: (b / "configs" / "metadata.json").write_text('"x"'),
        "failed",
        "configs/metadata.json must be a JSON object, it holds a text",
        "create",
    ),
    "no schema": (lambda b: metadata(b, schema=None), "failed", "schema", "meta_schema"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_with_its_remedy(bundle, fault):
    spoil, state, problem, remedy = FAULTS[fault]
    spoil(bundle)
    if fault == "name":
        bundle = bundle.rename(bundle.with_name("Head CT"))
    findings = [*check_files(bundle), *check_metadata(bundle), *check_keys(bundle)]
    found = [str(finding) for finding in findings if finding.state == state]
    assert [line for line in found if problem in line and remedy in line], found
    if state == "note":
        assert not [finding for finding in findings if finding.state == "failed"]


def test_nothing_is_said_of_the_bundle_of_the_repository_but_its_placeholders():
    findings = [*check_files(READY), *check_metadata(READY), *check_keys(READY)]
    assert {f.what for f in findings if f.state == "failed"} == set()
    assert {f.what for f in findings if f.state == "note"} <= {
        "metadata: authors and copyright",
        SIZES,  # nobody has uploaded its weights
        # Where other versions are installed than it was written with.
        "checked with the versions that metadata names",
    }


def test_large_files_that_are_listed_pass(bundle):
    large(bundle)
    (bundle / "models" / "model.pt").unlink()
    listed = "large_files:\n- path: models/model.pt\n  url: https://x.org/a\n- path: 'models/old.pt'\n  url: https://x.org/b\n"
    (bundle / "large_files.yml").write_text(listed)
    assert {f.state for f in check_files(bundle)} == {"ok"}


@pytest.mark.parametrize(
    "text",
    [
        "large_files:\n  - path: 'models/model.pt'\n    url: 'https://x.org/a'\n    hash_val: ''\n    hash_type: ''\n",
        "# ours\nlarge_files:\n- url: https://x.org/a?b=1,2#c\n  # - path: models/old.pt\n  path: models/model.pt\n",
        'large_files:\n- {path: models/model.pt, url: "https://x.org/a"}\n',
        'large_files: [{path: models/model.pt, url: "https://x.org/a"}]\n',
    ],
)
def test_a_list_is_read_as_people_write_it(bundle, text):
    (bundle / "models" / "model.pt").unlink()
    (bundle / "large_files.yaml").write_text(text)
    assert {f.state for f in check_files(bundle)} == {"ok"}


def test_a_list_may_be_json(bundle):
    (bundle / "models" / "model.pt").unlink()
    for entry, states in (
        ({"url": "https://x.org/a", "hash_val": None, "hash_type": None}, {"ok"}),
        ({}, {"ok", "failed"}),
    ):
        content = {"large_files": [{"path": "models/model.pt", **entry}]}
        (bundle / "large_files.json").write_text(json.dumps(content))
        assert {f.state for f in check_files(bundle)} == states
    (bundle / "large_files.json").write_text("{")
    failed = [str(f) for f in check_files(bundle) if f.state == "failed"]
    assert [line for line in failed if "it lists nothing" in line], failed


def test_outputs_caches_and_data_are_not_part_of_what_is_shared(bundle):
    for folder in ("cache", "eval", "data"):
        (bundle / folder).mkdir()
        (bundle / folder / "run.json").write_text('"/home/ann/scans"')
        with (bundle / folder / "image.nii").open("wb") as file:
            file.truncate(2_000_000)
    noted = [f for f in check_files(bundle) if f.state != "ok"]
    assert [(f.what, f.problem) for f in noted] == [(SIZES, "models/model.pt (4317 kB)")]


def test_the_limit_is_that_of_the_commit_hook(bundle):
    """`check-added-large-files` rounds up to kB and refuses more than 1024."""
    for size, large in ((1024 * 1024, False), (1024 * 1024 + 1, True)):
        with (bundle / "models" / "old.pt").open("wb") as file:
            file.truncate(size)
        (found,) = [f for f in check_files(bundle) if f.what == SIZES]
        assert ("models/old.pt (1025 kB)" in found.problem) is large


def test_what_is_no_bundle_is_one_line(tmp_path):
    with pytest.raises(UserError, match="is no bundle"):
        findings_of(tmp_path)
    for options in ({"dataset_dir": tmp_path / "no"}, {"schema": tmp_path / "no"}):
        with pytest.raises(UserError, match="no: is not a"):
            findings_of(READY, **options)


def test_a_trained_bundle_passes_whole(two_stage_bundle, server, copy_of, capsys):
    bundle = copy_of(two_stage_bundle)
    server.monai(bundle, "run", "training", "--config_file", "configs/train.json", "--train#trainer#max_epochs", 1)
    assert verify(bundle) == 0
    lines = capsys.readouterr().out.splitlines()
    states = {line[13:].split(": ")[0]: line[:11].strip() for line in lines[:-1]}
    assert "failed" not in states.values(), lines
    ran = ("properties of inference", "properties of training", "properties of evaluation", "verify_net_in_out")
    assert {states[what] for what in (*ran, "ckpt_export, scripted")} == {"ok"}
    assert "no check failed; see the notes" in lines[-1]


def test_what_monai_refuses_is_said(bundle, capsys):
    """A network with another number of channels than the metadata says, and weights that do not fit it."""

    def change(content):
        content["network_data_format"]["outputs"]["pred"]["num_channels"] = 31

    edit(bundle / "configs" / "metadata.json", change)
    edit(bundle / "configs" / "inference.json", lambda c: c.pop("evaluator"))
    assert verify(bundle) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("failed")]
    assert [line for line in failed if "verify_net_in_out" in line and "31" in line], failed
    assert [line for line in failed if "properties of inference" in line and "evaluator" in line], failed
    assert config(bundle, "metadata")["version"] == "0.1.0"


def test_weights_that_are_listed_are_not_called_untrained(bundle, capsys):
    """Nor is a package without them, and without a data list, called unchecked in its ids."""
    listed("- path: models/model.pt", "  url: https://x.org/a")(bundle)
    without("train", "output_dir")(bundle)
    assert verify(bundle) == 1
    lines = capsys.readouterr().out.splitlines()
    for what in ("ckpt_export, scripted", "onnx_export"):
        (line,) = [line for line in lines if what in line]
        assert line.startswith("not checked"), line
        assert "large_files.yml" in line and "download_large_files" in line, line
        assert "train it" not in line, line
    (line,) = [line for line in lines if line.startswith("failed")]
    assert "ids that the zoo requires in configs/train.json: missing: output_dir" in line


def test_a_schema_is_used_where_jsonschema_is(bundle, tmp_path):
    pytest.importorskip("jsonschema")
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"required": ["version", "colour"]}))
    (found,) = [f for f in check_metadata(bundle, schema) if f.what == "metadata: schema"]
    assert (found.state, "colour" in found.problem) == ("failed", True)
