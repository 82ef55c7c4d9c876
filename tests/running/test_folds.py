"""The folds of a bundle: what a choice means, and how several are put into use."""

import json

import pytest

from auto_config.errors import UserError
from auto_config.running.folds import parse_fold, seconds_of_calibration, use_all_folds


@pytest.mark.parametrize(
    ("fold", "number", "folds"),
    [
        (0, 5, [0]),
        ("4", 5, [4]),
        ("all", 3, [0, 1, 2]),
        ("none", 5, ["none"]),
        ("NONE", None, ["none"]),
        (7, None, [7]),
    ],
)
def test_fold(fold, number, folds):
    assert parse_fold(fold, number) == folds


@pytest.mark.parametrize(("fold", "number"), [(5, 5), (-1, 5), ("first", 5), (0.5, 5), ("all", None), (True, 5)])
def test_wrong_fold(fold, number):
    with pytest.raises(UserError, match="fold is"):
        parse_fold(fold, number)


@pytest.mark.parametrize(("errors", "best"), [([2.0, 1.0, 3.0], 1), ([None, 4.0, None], 1), ([None, None, None], 0)])
def test_the_single_model_is_that_of_the_best_fold(tmp_path, errors, best):
    for fold, error in enumerate(errors):
        (tmp_path / f"fold_{fold}").mkdir()
        (tmp_path / f"fold_{fold}" / "model.pt").write_bytes(b"%d" % fold)
        (tmp_path / f"fold_{fold}" / "score.json").write_text(json.dumps({"value": error}))
    use_all_folds(tmp_path, [0, 1, 2])
    assert (tmp_path / "model.pt").read_bytes() == b"%d" % best
    files = json.loads((tmp_path / "ensemble.json").read_text())["files"]
    assert files == [f"fold_{fold}/model.pt" for fold in range(3)]


def test_a_fold_without_weights_is_no_part_of_an_ensemble(tmp_path):
    with pytest.raises(UserError, match="cannot be averaged"):
        use_all_folds(tmp_path, [0])


def test_what_a_fold_keeps_for_its_calibration_is_in_its_last_line(tmp_path):
    assert seconds_of_calibration(tmp_path, 0) == 0.0
    path = tmp_path / "models" / "fold_0" / "progress.jsonl"
    path.parent.mkdir(parents=True)
    for text, seconds in (
        ('{"calibration_seconds": 9.0}\n{"calibration_seconds": 12.5}\n', 12.5),
        ('{"calibration_seconds": null}\n', 0.0),  # no calibration follows
        ('{"epoch": 3}\n', 0.0),  # a bundle of an earlier version
        ('{"calibration_seconds": 12.5}\n{"epo', 0.0),
        ("", 0.0),
    ):
        path.write_text(text)
        assert seconds_of_calibration(tmp_path, 0) == seconds
