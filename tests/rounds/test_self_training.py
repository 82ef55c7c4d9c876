"""The second round trains on predictions with the verdict ok, beside the labelled cases."""

import json
import time
from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from auto_config.bundle.landmark_table import landmark_table
from auto_config.errors import UserError
from auto_config.rounds import self_training
from auto_config.rounds.files import check_resume, forget_rounds
from auto_config.rounds.preparing import wanted_rounds
from auto_config.rounds.self_training import finished, require_first_round, score_of, second_round

VERDICTS = {"good": "ok", "odd": "check", "other": "failed", "fine": "ok"}
FILES = ("self_training.json", "self_training_config.json", "coarse_errors.json")


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A bundle of three labelled cases in two folds, and five scans, of which one cannot be read."""
    root = tmp_path / "bundle"
    label = {"A": [1.0, 2.0, 3.0], "B": "absent"}
    training = [
        {"case": name, "image": f"{name}.nii", "label": label, "fold": fold}
        for name, fold in zip("xyz", (0, 1, 1), strict=True)
    ]
    unlabelled = [{"case": case, "image": f"../{case}.nii"} for case in (*VERDICTS, "broken")]
    write(root / "data" / "datalist.json", {"dataset_dir": "/d/e", "training": training, "unlabelled": unlabelled})
    write(root / "configs" / "train.json", {"dataset_dir": "/d/e", "jitter_mm": 0.4, "coarse_errors": None})
    write(root / "configs" / "landmarks.json", {"landmarks": [{"name": "A"}, {"name": "B"}]})
    for place in (root / "models" / "model.pt", root / "models" / "fold_0" / "model.pt"):
        place.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"weight": torch.ones(1)}, place)

    def preprocess(files):
        if files[0].stem == "broken":
            raise ValueError("broken.nii: is no image")
        return files[0].stem

    def predict(case):
        rows = [("A", 1, 0.96), ("B", 0, 0.2)]
        found = [{"name": n, "present": p, "confidence": c, "world": [4.0, 5.0, 6.0]} for n, p, c in rows]
        return {"result": {"landmarks": found, "verdict": {"verdict": VERDICTS[case]}}}

    def opened(folder, *, device, weights):
        assert folder == root and device is None and weights == [root / "models" / "fold_0" / "model.pt"]
        return SimpleNamespace(preprocess=preprocess, predict=predict)

    monkeypatch.setattr(self_training, "open_bundle", opened)
    return root


def test_predictions_with_the_verdict_ok_are_trained_on_beside_the_labelled_cases(bundle, capsys):
    said = second_round(bundle, 0, require_first_round(bundle, 0))
    kinds = "1 scan check, 1 scan failed, 1 scan not read, 2 scans ok"
    assert said == f"2 of 5 unlabelled scans are trained on ({kinds})."
    assert "warning: /d/broken.nii: cannot be predicted (broken.nii: is no image)" in capsys.readouterr().out
    listed = read(bundle / "models" / "fold_0" / "self_training.json")["training"]
    assert [item["case"] for item in listed] == ["y", "z", "good", "fine"]
    assert listed[0]["image"] == "/d/e/y.nii"
    # What was not found is unknown, and not absent.
    found = {"label": {"A": [4.0, 5.0, 6.0]}, "confidence": {"A": 0.96}}
    assert listed[2] == {"case": "good", "image": "/d/good.nii", **found}
    config = read(bundle / "models" / "fold_0" / "self_training_config.json")
    assert (config["keep"], config["keep_better"], config["keep_tolerance"]) == ("best", True, 0.1)
    assert config["+train#handlers"][0]["load_path"] == str(bundle / "models" / "fold_0" / "model.pt")
    assert config["train#dataset#data#datalist"] == str(bundle / "models" / "fold_0" / "self_training.json")


def test_names_of_files_are_not_evaluated(bundle):
    items = [{"case": "$print(1)", "image": ["/d/good.nii"]}]
    second_round(bundle, 0, items)
    assert "$print" not in (bundle / "models" / "fold_0" / "self_training_config.json").read_text(encoding="utf-8")
    assert read(bundle / "models" / "fold_0" / "self_training.json")["training"][-1]["case"] == "$print(1)"


def test_labelled_cases_are_half_of_the_samples_at_least(bundle, monkeypatch):
    items = [{"case": f"s{number}", "image": [f"/d/{number}_0.nii", f"/d/{number}_1.nii"]} for number in range(5)]
    monkeypatch.setattr(self_training, "_predicted", lambda _, found, *__: (found, Counter(ok=5), 0))
    second_round(bundle, 0, items)
    listed = read(bundle / "models" / "fold_0" / "self_training.json")["training"]
    assert [item["case"] for item in listed] == [*("y", "z") * 3, "s0", "s1", "s2", "s3", "s4"]
    assert listed[-1]["image"] == ["/d/4_0.nii", "/d/4_1.nii"]


def test_predictions_end_by_the_clock(bundle):
    with pytest.raises(UserError, match="no time for 5 scans"):
        second_round(bundle, 0, require_first_round(bundle, 0), until=time.time() - 1)


def test_a_bundle_without_verdicts_has_no_second_round(bundle, monkeypatch):
    earlier = SimpleNamespace(preprocess=list, predict=lambda _: {"result": {"landmarks": []}})
    monkeypatch.setattr(self_training, "open_bundle", lambda *_, **__: earlier)
    with pytest.raises(UserError, match="gives no verdicts, because an earlier version made it"):
        second_round(bundle, 0, require_first_round(bundle, 0))


def forget_scans(root):
    write(root / "data" / "datalist.json", {"dataset_dir": "/d", "training": []})


def many_of_one(root):
    table = landmark_table(
        ["A", "B"],
        [],
        [],
        3,
        {"many": [{"landmark": 0, "rows": 2, "min_distance_mm": 1.0, "match_mm": 1.0}], "exchangeable": []},
    )
    write(root / "configs" / "landmarks.json", table)


def other_weights(root):
    torch.save({"weight": torch.zeros(1)}, root / "models" / "model.pt")


def unfinished(root):
    write(root / "models" / "fold_0" / "progress.jsonl", {"epoch": 3, "progress": 0.4})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (forget_scans, "knows no unlabelled scans; create it with --unlabelled FOLDER"),
        (lambda root: (root / "models" / "fold_0" / "model.pt").unlink(), "train it first"),
        (lambda root: (root / "data" / "datalist.json").unlink(), "cannot be read"),
        (many_of_one, "any number of a landmark"),
        (other_weights, "was not trained with validation cases"),
        (
            lambda root: write(root / "models" / "ensemble.json", {"files": ["fold_0/model.pt", "fold_1/model.pt"]}),
            "fold_1",
        ),
        (unfinished, "has not ended: go on with --resume, or replace it with --overwrite"),
    ],
)
def test_what_cannot_be_trained_on_is_said_before_anything_is_predicted(bundle, spoil, message):
    spoil(bundle)
    with pytest.raises(UserError, match=message):
        require_first_round(bundle, 0)


def test_a_training_that_has_not_ended_may_be_replaced(bundle):
    unfinished(bundle)
    assert len(require_first_round(bundle, 0, overwrite=True)) == 5


def test_no_good_prediction_is_said(bundle, monkeypatch):
    for case in VERDICTS:
        monkeypatch.setitem(VERDICTS, case, "check")
    with pytest.raises(UserError, match=r"has the verdict ok \(4 scans check, 1 scan not read\)"):
        second_round(bundle, 0, require_first_round(bundle, 0))
    assert not (bundle / "models" / "fold_0" / "self_training.json").exists()


@pytest.mark.parametrize(
    ("score", "said"),
    [
        ({"value": 0.2471, "epoch": 5}, "is 0.247 mm, without it 0.246 mm; the weights of the second round are used."),
        (None, "is 0.3 mm, without it 0.246 mm; the weights of the first round are used."),
    ],
)
def test_both_rounds_are_reported_and_the_score_of_what_is_used_stays(bundle, score, said):
    models = bundle / "models" / "fold_0"
    rows = [
        {"epoch": 0, "progress": 0.0, "mre_mm": 0.2459},
        {"epoch": 1, "progress": 0.5, "mre_mm": 0.3},
        {"epoch": 1, "progress": 1.0, "mre_mm": None},
    ]
    write(models / "score.json", {"value": 0.2459, "epoch": 7})
    first = score_of(bundle, 0)
    (models / "score.json").unlink()
    (models / "progress.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if score is not None:
        write(models / "score.json", score)
    assert finished(bundle, 0, first) == f"With unlabelled scans the error on the validation cases {said}"
    assert read(models / "score.json") == (score or {"value": 0.2459, "epoch": 7})
    (models / "progress.jsonl").unlink()
    assert finished(bundle, 0, first) is None


def wanted(bundle, **options):
    usual = {"second": True, "jitter": "gaussian", "as_jobs": False, "resume": False, "overwrite": False}
    names = options.pop("names", ["0"])
    config = read(bundle / "configs" / "train.json") | options.pop("config", {})
    return wanted_rounds(bundle, config, names, **{**usual, "overrides": {}, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jitter": "gausian"}, "jitter is 'gausian'; allowed are gaussian and out_of_fold"),
        ({"names": ["0", "1"]}, "train one fold that has validation cases"),
        ({"names": ["none"]}, "train one fold that has validation cases"),
        ({"as_jobs": True}, "train one fold that has validation cases"),
        ({"overrides": {"dataset_dir": "/x"}}, "--dataset_dir and --self_training do not go together"),
        ({"resume": True}, "began without --self_training: omit it with --resume"),
        ({"second": False, "jitter": "out_of_fold", "names": ["1"]}, "fold 1 is not trained"),
    ],
)
def test_what_does_not_go_together_is_said_at_once(bundle, options, message):
    with pytest.raises(UserError, match=message):
        wanted(bundle, **options)


def test_a_training_goes_on_as_it_began_and_a_new_one_forgets(bundle):
    folder = bundle / "models" / "fold_0"
    check_resume(bundle, ["0"])
    for file in FILES:
        write(folder / file, {})
    with pytest.raises(UserError, match="began with --self_training: give it with --resume, too"):
        check_resume(bundle, ["0"])
    with pytest.raises(UserError, match="began with --jitter out_of_fold: give it with --resume, too"):
        wanted(bundle, resume=True)
    check_resume(bundle, ["0"], second=True, out_of_fold=True)
    forget_rounds(bundle, ["1", "0"])
    assert not any((folder / file).exists() for file in FILES)


def test_a_round_that_goes_on_predicts_nothing_again(bundle, monkeypatch):
    for file in FILES[:2]:
        write(bundle / "models" / "fold_0" / file, {})
    monkeypatch.setattr(self_training, "_predicted", lambda *_: pytest.fail("predicted again"))
    overrides, configs = wanted(bundle, resume=True).prepare(None, 0.0)
    assert overrides == {} and configs == [bundle / "models" / "fold_0" / "self_training_config.json"]


def test_what_the_weights_in_use_were_trained_on_stays_known_until_a_new_round_is_made(bundle, monkeypatch):
    folder = bundle / "models" / "fold_0"
    for file in FILES:
        write(folder / file, {"of": "before"})
    for case in VERDICTS:
        monkeypatch.setitem(VERDICTS, case, "check")
    with pytest.raises(UserError, match="has the verdict ok"):
        wanted(bundle).prepare(None, 0.0)
    assert all(read(folder / file) == {"of": "before"} for file in FILES)
    monkeypatch.setitem(VERDICTS, "good", "ok")
    wanted(bundle).prepare(None, 0.0)
    assert [(folder / file).exists() for file in FILES] == [True, True, False]
    assert read(folder / "self_training.json") != {"of": "before"}
