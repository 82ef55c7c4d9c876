"""What `predict` prints of cases to look at, and the exit status of `--strict`."""

import json

from toy_bundle import write_toy_bundle, write_toy_image

from auto_config.commands.predict import predict
from auto_config.prediction.terminal import print_verdicts


def test_one_table_has_the_cases_to_look_at_the_failed_ones_first(capsys):
    found = {
        "anna": {"verdict": "ok", "reasons": [], "not_judged": ["pose", "presence"]},
        "ben": {"verdict": "check", "reasons": ["it is [turned]", "and small"]},
        "carl": {"verdict": "failed", "reasons": ["nothing fits"], "not_judged": ["pose"]},
    }
    assert not print_verdicts(found, 3)
    said = capsys.readouterr().out
    assert "2 cases to look at" in said and "it is [turned]" in said and "and small" not in said
    assert said.index("carl") < said.index("ben") and "anna" not in said
    assert "not judged: pose, presence" in said
    assert print_verdicts({"anna": {"verdict": "ok", "reasons": []}}, 1)
    assert "to look at" not in capsys.readouterr().out
    assert print_verdicts({}, 1) and "an earlier version made the bundle" in capsys.readouterr().out


def with_verdicts(bundle, document):
    """The step of a bundle that is made today."""
    path = bundle / "configs" / "inference.json"
    config = json.loads(path.read_text())
    configs = "$@bundle_root + '/configs"
    step = {
        "_target_": "scripts.inference.verdict.step.CaseVerdictd",
        "landmarks": f"{configs}/landmarks.json'",
        "training": f"{configs}/verdict.json'",
    }
    config["postprocessing"]["transforms"].insert(-1, step)
    path.write_text(json.dumps(config))
    (bundle / "configs" / "verdict.json").write_text(json.dumps(document))
    return bundle


def test_strict_is_a_status_and_nothing_else(tmp_path, capsys):
    inside = {"mean": 0.0, "sd": 0.0, "low": 0.0, "high": 0.0}
    reference = {
        "others": "training cases",
        "cases": 9,
        "rate": None,
        "check": 6.0,
        "failed": 12.0,
        "fits": False,
        "coarse_fits": False,
        "columns": {"spacing": inside, "border": inside},
    }
    ranges = {"spacing": {"low": [1.0] * 3, "high": [1.0] * 3}}
    document = {"landmarks": ["tip", "Ä, base"], "ranges": ranges, "shape": None, "reference": reference}
    bundle = with_verdicts(write_toy_bundle(tmp_path / "toy"), document)
    write_toy_image(tmp_path / "good/a.nii.gz", [(2, 3, 4), (9, 2, 5)])
    assert predict(bundle, tmp_path / "good", tmp_path / "one", strict=True, device="cpu") == 0
    assert "to look at" not in capsys.readouterr().out
    # The first point lies in the outermost voxels.
    write_toy_image(tmp_path / "cut/b.nii.gz", [(0, 3, 4), (9, 2, 5)])
    for strict, status in ((False, 0), (True, 1)):
        out = tmp_path / f"two {strict}"
        assert predict(bundle, tmp_path / "cut", out, strict=strict, device="cpu") == status
        (said,) = json.loads((out / "run.json").read_text())["verdicts"].values()
        assert said["verdict"] == "failed" and said["reasons"][0].startswith("50 % of the points lie at the border")
    assert "1 case to look at" in capsys.readouterr().out
