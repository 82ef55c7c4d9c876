"""JSON as `pretty-format-json --no-sort-keys --indent=4` writes it: said by `verify`, done by `package`."""

import json
import shutil
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from auto_config.commands.package import package
from auto_config.errors import UserError
from auto_config.packaging.contents import in_form_of_the_hook
from auto_config.verification import files
from auto_config.verification.checks import findings_of
from auto_config.verification.json_form import check_json_form, formed

READY = Path(__file__).parents[2] / "bundles" / "brain_mri_afids32_demo"


@pytest.fixture(scope="module")
def packaged(tmp_path_factory):
    """The bundle of the repository as `package` hands it on, with a landmark whose name is not ASCII."""
    folder = tmp_path_factory.mktemp("form")
    bundle = Path(shutil.copytree(READY, folder / "given" / READY.name))
    path = bundle / "atlas" / "atlas.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["landmarks"][0]["definition"] = "Öhr"
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    assert package(bundle, folder / "brain.zip") == 0
    with zipfile.ZipFile(folder / "brain.zip") as archive:
        archive.extractall(folder)
    return folder / READY.name


def test_the_form_is_that_of_the_hook():
    given = '{"b": [1, 2.50], "a": {"Ö": 1e-05}, "c": []}'.encode()
    wanted = (
        '{\n    "b": [\n        1,\n        2.5\n    ],\n    "a": {\n        "\\u00d6": 1e-05\n    },\n    "c": []\n}\n'
    )
    assert formed(given) == wanted.encode()
    assert formed(formed(given)) == formed(given)


def test_a_package_has_it_and_says_the_same(packaged):
    assert check_json_form(packaged).state == "ok"
    names = sorted(path.relative_to(packaged) for path in packaged.rglob("*.json"))
    assert {Path("atlas/atlas.json"), Path("configs/train.json"), Path("models/calibration.json")} <= set(names)
    for name in names:
        assert (packaged / name).read_bytes() == formed((packaged / name).read_bytes()), name
    plan = "configs/plan.json"
    assert json.loads((packaged / plan).read_text()) == json.loads((READY / plan).read_text(encoding="utf-8"))
    assert json.loads((packaged / "atlas/atlas.json").read_text())["landmarks"][0]["definition"] == "Öhr"


@pytest.mark.parametrize("name", ["configs/plan.json", "models/calibration.json", "atlas/atlas.json"])
@pytest.mark.parametrize("spoil", [lambda text: text[:-1], lambda text: json.dumps(json.loads(text), indent=1) + "\n"])
def test_a_file_of_another_form_is_a_note_that_names_it(packaged, tmp_path, name, spoil):
    bundle = Path(shutil.copytree(packaged, tmp_path / packaged.name))
    (bundle / name).write_text(spoil((bundle / name).read_text()))
    (found,) = [f for f in findings_of(bundle, monai=False) if "commit hook" in f.what]
    assert (found.state, found.problem) == ("note", name)
    assert "auto_config package" in found.remedy


def test_what_is_no_json_is_not_judged_here_and_not_handed_on(packaged, tmp_path):
    bundle = Path(shutil.copytree(packaged, tmp_path / packaged.name))
    (bundle / "configs" / "plan.json").write_text("{")
    assert check_json_form(bundle).state == "ok"
    with pytest.raises(UserError, match=r"models/instances\.json: is no JSON"):
        in_form_of_the_hook({"models/instances.json": b"{"})


def test_a_large_one_is_listed_with_the_hash_of_the_file_that_is_uploaded(packaged, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_KB", 90)
    assert package(READY, tmp_path / "brain.zip", weights_url="https://x.org") == 0
    with zipfile.ZipFile(tmp_path / "brain.zip") as archive:
        listed = archive.read(f"{READY.name}/large_files.yml").decode()
    assert 'path: "models/calibration.json"' in listed
    assert sha256((READY / "models" / "calibration.json").read_bytes()).hexdigest() in listed
