"""The numbers of two seeded steps and of a prediction are those recorded before methods had a seam of their own.

`golden.json` was written by `python tests/methods/steps.py tests/methods/golden.json recipe` with the code before it;
the numbers of nnlandmark once more when its patches and augmentation became those of nnU-Net. `default` cuts fields of
view since then, on purpose: without cuts its numbers are still those, and with them it has further ones. Landmarks
share crops since then too; points here are those of crops of their own.
The tolerances let other builds of torch pass; on one machine the numbers are equal.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from steps import CASES, WHOLE, measure

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("method", "stages", "dims"), CASES)
def test_weights_and_points_after_two_steps(method, stages, dims, tmp_path):
    found = measure(tmp_path, method, stages, dims, **(WHOLE if method == "default" else {}))
    same(found, GOLDEN[f"{method}-{stages}-{dims}"])


@pytest.mark.parametrize(("method", "stages", "dims"), [case for case in CASES if case[0] == "default"])
def test_two_steps_with_cut_fields_of_view(method, stages, dims, tmp_path):
    expected = GOLDEN[f"{method}-{stages}-{dims}-cut"]
    assert expected["weights"] != GOLDEN[f"{method}-{stages}-{dims}"]["weights"]
    same(measure(tmp_path, method, stages, dims), expected)


def same(found, expected):
    np.testing.assert_allclose(found["weights"], expected["weights"], rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(found["points"], expected["points"], atol=2e-3)
