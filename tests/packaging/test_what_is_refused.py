"""`package`: what would not work for whoever gets it is not handed on, and what the zoo refuses is no success."""

import io
import json
import shutil
from pathlib import Path

import pytest
import torch

from auto_config.cli import main
from auto_config.commands.package import package
from auto_config.verification.checks import findings_of

READY = Path(__file__).parents[2] / "bundles" / "brain_mri_afids32_demo"


def saved(value):
    """A file of weights that holds something else."""
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


DAMAGED = {
    "a byte": lambda whole: b"x",
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "an object": lambda whole: saved(Path("x")),
}


@pytest.fixture
def bundle(tmp_path):
    """A copy of the trained bundle of the repository."""
    return Path(shutil.copytree(READY, tmp_path / READY.name))


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("file", ["model.pt", "fold_0/model.pt"])
def test_damaged_weights_are_one_line_and_no_zip(bundle, tmp_path, capsys, kind, file):
    whole = (bundle / "models" / "model.pt").read_bytes()
    (bundle / "models" / "ensemble.json").write_text(json.dumps({"files": ["fold_0/model.pt"]}))
    (bundle / "models" / "fold_0").mkdir()
    (bundle / "models" / "fold_0" / "model.pt").write_bytes(whole)
    (bundle / "models" / file).write_bytes(DAMAGED[kind](whole))
    out = tmp_path / "out"
    assert main(["package", str(bundle), str(out / "brain.zip")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {bundle / 'models' / file}: is ")
    assert "train again" in line and "weights_only" not in line
    assert not out.exists()


@pytest.mark.parametrize("authors, status", [("", 1), ("A. Nn", 0)])
def test_a_package_that_the_zoo_would_refuse_is_no_success(bundle, tmp_path, capsys, authors, status):
    assert package(bundle, tmp_path / "brain.zip", authors=authors) == status
    said = capsys.readouterr().out
    assert ("missing or empty: authors" in said) is bool(status)
    assert ("1 check failed, see above" in said) is bool(status)


@pytest.mark.parametrize(
    "text, problem", [("[]", "must be a JSON object, it holds a list"), ("1", "it holds a number"), ("{", "is no JSON")]
)
@pytest.mark.parametrize("name", ["inference", "metadata"])
def test_a_config_that_is_no_object_is_one_line(bundle, capsys, name, text, problem):
    path = bundle / "configs" / f"{name}.json"
    path.write_text(text)
    out = bundle.parent / "out"
    assert main(["package", str(bundle), str(out / "brain.zip")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: ") and problem in line and "repair the file" in line
    assert not out.exists()


@pytest.mark.parametrize("name", ["inference", "metadata"])
def test_verify_says_the_same_in_one_line(bundle, name):
    (bundle / "configs" / f"{name}.json").write_text("[]")
    failed = [finding for finding in findings_of(bundle) if finding.state == "failed"]
    assert [finding.problem for finding in failed] == [f"configs/{name}.json must be a JSON object, it holds a list"]


@pytest.mark.parametrize(
    ("name", "missing"), [("inference", "spacing"), ("metadata", "version and no network_data_format")]
)
def test_configs_without_what_a_package_is_made_of_are_one_line(bundle, tmp_path, capsys, name, missing):
    config = bundle / "configs" / f"{name}.json"
    config.write_text("{}", encoding="utf-8")
    assert main(["package", str(bundle), str(tmp_path / "brain.zip")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {config}: has no {missing}; ")
    assert not (tmp_path / "brain.zip").exists()


ODD = {
    "a key twice": ("configs/train.json", b'{"a": 1, "a": 2}', "has a twice in one object; keep one of each"),
    "a byte order mark": ("configs/inference.json", b"\xef\xbb\xbf{}", "is no JSON "),
    "an ensemble that is a list": (
        "models/ensemble.json",
        b"[]",
        "must be a JSON object, it holds a list; train again",
    ),
    "an ensemble without files": ("models/ensemble.json", b"{}", "has no list `files`; train again"),
    "half a calibration": ("models/calibration.json", b"{", "is no JSON "),
    "a calibration that is a list": ("models/calibration.json", b"[]", "must be a JSON object, it holds a list; "),
}


@pytest.mark.parametrize("kind", ODD)
def test_other_files_of_json_are_one_line_with_their_name(bundle, tmp_path, capsys, kind):
    name, data, problem = ODD[kind]
    (bundle / name).write_bytes(data)
    assert main(["package", str(bundle), str(tmp_path / "brain.zip")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {bundle / name}: {problem}")
    assert not (tmp_path / "brain.zip").exists()


def test_metadata_that_tell_no_shape_leave_no_zip(bundle, tmp_path, capsys):
    config = bundle / "configs" / "metadata.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "network_data_format": {}}))
    assert main(["package", str(bundle), str(tmp_path / "brain.zip")]) == 2
    assert "network_data_format#inputs#image" in capsys.readouterr().err
    assert not (tmp_path / "brain.zip").exists()
