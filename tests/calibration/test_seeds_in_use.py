"""Which networks predict the validation cases of a fold, where several of one fold are in use."""

import json

import pytest
import torch

from auto_config.bundle.opened import fold_of, weight_files, weights_of_fold
from auto_config.calibration.provenance import prediction_digest
from auto_config.calibration.validation_cases import folds_in_use
from auto_config.errors import UserError
from auto_config.packaging.contents import shared_content


def write(root, files):
    for number, file in enumerate(["model.pt", *files]):
        path = root / "models" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"weight": torch.full((2,), float(number))}, path)
    (root / "models" / "ensemble.json").write_text(json.dumps({"files": list(files)}))
    (root / "configs").mkdir(exist_ok=True)
    for name, text in {"inference": '{"spacing": [1.0]}', "landmarks": "{}"}.items():
        (root / "configs" / f"{name}.json").write_text(text)
    return root


def test_a_fold_is_predicted_by_all_its_networks_in_use(tmp_path):
    files = ["fold_1/model.pt", "fold_1/seed_1/model.pt", "fold_3/model.pt", "fold_3/seed_1/model.pt"]
    root = write(tmp_path, files)
    torch.save({}, root / "models" / "fold_1" / "other.pt")
    assert folds_in_use(root) == [1, 3]
    models = root / "models"
    assert weights_of_fold(root, 1) == [models / file for file in files[:2]]
    assert weights_of_fold(root, 2) == [models / "fold_2" / "model.pt"]
    assert [fold_of(root, path) for path in (*weight_files(root), models / "model.pt")] == ["1", "1", "3", "3", None]
    # What is kept of one network does not count for two.
    digests = {prediction_digest(root, weights_of_fold(root, 1)[:count]) for count in (1, 2)}
    assert len(digests) == 2


def test_networks_of_all_cases_have_no_unseen_ones(tmp_path):
    root = write(tmp_path, ["fold_none/model.pt", "fold_none/seed_1/model.pt"])
    with pytest.raises(UserError, match="was not trained with validation cases"):
        folds_in_use(root)


def test_a_package_holds_every_seed(tmp_path):
    files = ["fold_1/model.pt", "fold_1/seed_1/model.pt"]
    root = write(tmp_path, files)
    (root / "LICENSE").write_text("free")
    (root / "models" / "fold_1" / "seed_1" / "latest.pt").write_bytes(b"state")
    names = [name for name in shared_content(root) if name.startswith("models/")]
    assert sorted(names) == sorted(["models/model.pt", "models/ensemble.json", *(f"models/{file}" for file in files)])
