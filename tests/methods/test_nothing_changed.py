"""The numbers of two seeded steps and of a prediction are those recorded before methods had a seam of their own.

`golden.json` was written by `python tests/methods/steps.py tests/methods/golden.json recipe` with the code before it;
the numbers of nnlandmark once more when its patches and augmentation became those of nnU-Net.
The tolerances let other builds of torch pass; on one machine the numbers are equal.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from steps import CASES, measure

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("method", "stages", "dims"), CASES)
def test_weights_and_points_after_two_steps(method, stages, dims, tmp_path):
    found = measure(tmp_path, method, stages, dims)
    expected = GOLDEN[f"{method}-{stages}-{dims}"]
    np.testing.assert_allclose(found["weights"], expected["weights"], rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(found["points"], expected["points"], atol=2e-3)
