"""The second round trains on predictions with the verdict ok, and keeps the better weights."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from auto_config.errors import UserError
from auto_config.running import self_training
from auto_config.running.self_training import second_round

VERDICTS = {"good": "ok", "odd": "check", "other": "failed", "fine": "ok"}


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


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
    write(root / "data" / "datalist.json", {"dataset_dir": "/d", "training": training, "unlabelled": unlabelled})
    write(root / "configs" / "train.json", {"dataset_dir": "/d"})
    write(root / "configs" / "landmarks.json", {"landmarks": [{"name": "A"}, {"name": "B"}]})
    (root / "models" / "fold_0").mkdir(parents=True)
    (root / "models" / "fold_0" / "model.pt").write_bytes(b"weights")

    def preprocess(files):
        if files[0].stem == "broken":
            raise ValueError("broken.nii: is no image")
        return files[0].stem

    def predict(case):
        rows = [("A", 1, 0.96), ("B", 0, 0.2)]
        found = [{"name": n, "present": p, "confidence": c, "world": [4.0, 5.0, 6.0]} for n, p, c in rows]
        return {"result": {"landmarks": found, "verdict": {"verdict": VERDICTS[case]}}}

    def opened(folder, *, device, weights):
        assert weights == [root / "models" / "fold_0" / "model.pt"]
        return SimpleNamespace(preprocess=preprocess, predict=predict)

    monkeypatch.setattr("auto_config.bundle.opened.open_bundle", opened)
    return root


def test_predictions_with_the_verdict_ok_are_trained_on_beside_the_labelled_cases(bundle, capsys):
    found = second_round(bundle, 0)
    assert (
        found.said
        == "2 of 5 unlabelled scans are trained on (1 scan check, 1 scan failed, 1 scan not read, 2 scans ok)."
    )
    assert "warning: /d/../broken.nii: cannot be predicted (broken.nii: is no image)" in capsys.readouterr().out
    config = json.loads(found.config.read_text(encoding="utf-8"))
    data = config["train#dataset#data"]
    assert [item["case"] for item in data] == ["y", "z", "good", "fine"]
    # What was not found is unknown, and not absent.
    assert data[2] == {
        "case": "good",
        "image": str(Path("/d/../good.nii")),
        "label": {"A": [4.0, 5.0, 6.0]},
        "confidence": {"A": 0.96},
    }
    assert (config["keep_better"], config["keep_tolerance"]) == (True, 0.1)
    assert config["+train#handlers"][0]["load_path"] == str(bundle / "models" / "fold_0" / "model.pt")


def test_labelled_cases_are_half_of_the_samples_at_least(bundle, monkeypatch):
    many = [f"s{number}" for number in range(5)]
    document = json.loads((bundle / "data" / "datalist.json").read_text())
    document["unlabelled"] = [{"case": case, "image": [f"{case}_0.nii", f"{case}_1.nii"]} for case in many]
    write(bundle / "data" / "datalist.json", document)
    monkeypatch.setattr(self_training, "_predicted", lambda folder, items, *_: (items, {"ok": 5}))
    data = json.loads(second_round(bundle, 0).config.read_text(encoding="utf-8"))["train#dataset#data"]
    assert [item["case"] for item in data] == [*("y", "z") * 3, *many]
    assert data[-1]["image"] == ["/d/s4_0.nii", "/d/s4_1.nii"]


def test_a_bundle_without_verdicts_has_no_second_round(bundle, monkeypatch):
    earlier = SimpleNamespace(preprocess=list, predict=lambda _: {"result": {"landmarks": []}})
    monkeypatch.setattr("auto_config.bundle.opened.open_bundle", lambda *_, **__: earlier)
    with pytest.raises(UserError, match="gives no verdicts, because an earlier version made it"):
        second_round(bundle, 0)


@pytest.mark.parametrize(
    ("score", "said"),
    [
        ({"value": 0.2471, "epoch": 5}, "is 0.247 mm, without it 0.246 mm; the weights of the second round are used."),
        (None, "is 0.3 mm, without it 0.246 mm; the weights of the first round are used."),
    ],
)
def test_both_rounds_are_reported(bundle, score, said):
    models = bundle / "models" / "fold_0"
    rows = [
        {"epoch": 0, "progress": 0.0, "mre_mm": 0.2459},
        {"epoch": 1, "progress": 0.5, "mre_mm": 0.3},
        {"epoch": 1, "progress": 1.0, "mre_mm": None},
    ]
    (models / "progress.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if score is not None:
        write(models / "score.json", score)
    assert self_training.compared(bundle, 0) == f"With unlabelled scans the error on the validation cases {said}"
    (models / "progress.jsonl").unlink()
    assert self_training.compared(bundle, 0) is None


def forget_scans(root):
    write(root / "data" / "datalist.json", {"dataset_dir": "/d", "training": []})


def many_of_one(root):
    write(root / "configs" / "landmarks.json", {"landmarks": [{"name": "A", "many": True}]})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (forget_scans, "knows no unlabelled scans; create it with --unlabelled FOLDER"),
        (lambda root: (root / "models" / "fold_0" / "model.pt").unlink(), "train it first"),
        (lambda root: (root / "data" / "datalist.json").unlink(), "cannot be read"),
        (many_of_one, "any number of a landmark"),
        (None, r"has the verdict ok \(4 scans check, 1 scan not read\)"),
    ],
)
def test_what_cannot_be_trained_on_is_said_in_one_line(bundle, spoil, message, monkeypatch):
    if spoil is None:
        for case in VERDICTS:
            monkeypatch.setitem(VERDICTS, case, "check")
    else:
        spoil(bundle)
    with pytest.raises(UserError, match=message):
        second_round(bundle, 0)
    assert not (bundle / "models" / "fold_0" / "self_training.json").exists()
