"""Kept predictions count as long as everything that decides them is the same."""

import json

import pytest
import torch

from auto_config.calibration.provenance import prediction_digest


@pytest.fixture
def bundle(tmp_path):
    """What a digest looks at, and a data list and a plan, which it does not."""
    for folder in ("configs", "scripts/methods", "scripts/parts", "models", "data"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("configs/inference.json", "configs/landmarks.json", "configs/plan.json", "data/datalist.json"):
        (tmp_path / name).write_text(json.dumps({"file": name}))
    for name in ("scripts/__init__.py", "scripts/methods/decoders.py", "scripts/parts/more.py"):
        (tmp_path / name).write_text("x = 1\n")
    torch.save({"weight": torch.arange(4.0)}, tmp_path / "models" / "model.pt")
    return tmp_path


def digest(bundle):
    return prediction_digest(bundle, [bundle / "models" / "model.pt"])


@pytest.mark.parametrize(
    "name", ["configs/inference.json", "configs/landmarks.json", "scripts/methods/decoders.py", "scripts/parts/more.py"]
)
def test_whatever_decides_a_prediction_changes_the_digest(bundle, name):
    before = digest(bundle)
    (bundle / name).write_text((bundle / name).read_text() + "\n")
    assert digest(bundle) != before


def test_a_script_that_is_renamed_or_new_changes_the_digest(bundle):
    found = {digest(bundle)}
    (bundle / "scripts" / "methods" / "decoders.py").rename(bundle / "scripts" / "methods" / "votes.py")
    found.add(digest(bundle))
    (bundle / "scripts" / "new.py").write_text("")
    found.add(digest(bundle))
    assert len(found) == 3


def test_another_version_of_what_makes_densities_changes_the_digest(bundle, tmp_path, monkeypatch):
    before = digest(bundle)
    other = tmp_path / "densities.py"
    other.write_text("x = 2")
    monkeypatch.setattr("auto_config.calibration.provenance.OWN", (other,))
    assert digest(bundle) != before


def test_weights_count_by_their_numbers_and_nothing_else_counts(bundle):
    before = digest(bundle)
    torch.save({"weight": torch.arange(4.0)}, bundle / "models" / "model.pt", _use_new_zipfile_serialization=False)
    for name in ("configs/plan.json", "data/datalist.json", "scripts/notes.txt"):
        (bundle / name).write_text("other")
    assert digest(bundle) == before
    torch.save({"weight": torch.arange(4.0) + 1e-6}, bundle / "models" / "model.pt")
    assert digest(bundle) != before
