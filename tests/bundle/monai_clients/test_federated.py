"""MONAI's client of federated learning on a bundle: it calls the trainer itself and never looks at `run`."""

import json
import math

from bundle_tools import ask


def test_two_rounds_have_schedule_checkpoints_shape_and_report(
    two_stage_bundle, one_stage_bundle, copy_of, server, tmp_path
):
    roots = [copy_of(two_stage_bundle), copy_of(one_stage_bundle)]
    answers = ask(server, tmp_path, "federated", "rounds", [str(root) for root in roots])
    for root, answer in zip(roots, answers, strict=True):
        # Untrained, and the difference of each round: a sum over clients must never hold NaN.
        assert answer["finite"] == [True, True, True]
        assert answer["types"] == [True, True]
        assert answer["steps"] == [3, 3]
        assert answer["epochs"] == [1, 2]
        assert 0 < answer["rates"][1] < 1e-2
        assert answer["sums"]
        assert min(answer["cases"]) >= 5
        assert math.isfinite(answer["error"])
        assert answer["best"]
        models = root / "models"
        assert (models / "model.pt").is_file()
        lines = [json.loads(line) for line in (models / "fold_0" / "progress.jsonl").read_text().splitlines()]
        # The second round goes on with the files of the first: start, epoch and end of each.
        assert [line["epoch"] for line in lines] == [0, 1, 1, 1, 2, 2]
        assert json.loads((models / "fold_0" / "score.json").read_text())["value"] is not None
