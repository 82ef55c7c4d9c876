"""Two models on the same cases: whose errors are smaller, and is it more than chance."""

from __future__ import annotations

from typing import Any

import numpy as np

from auto_config.errors import UserError
from auto_config.evaluation.comparison import Comparison
from auto_config.evaluation.statistics import holm, paired_difference


def compare_models(first: Comparison, second: Comparison, name: str) -> dict[str, Any]:
    """Compare two models with the same truth.

    Args:
        first: The model that is evaluated.
        second: The other one.
        name: What to call the other one.

    Returns:
        ``name``, ``all`` (see `paired_difference`; first minus second, so below 0 the first is better) and
        ``per_landmark``, each with ``p_value_holm``, corrected for the number of landmarks.

    Raises:
        UserError: no case or landmark that both predicted.
    """
    cases = [case for case in first.cases if case in second.cases]
    names = [landmark for landmark in first.names if landmark in second.names]
    if not cases or not names:
        raise UserError(f"--compare_with {name}: has no case and landmark in common with these predictions")
    errors = [_common(model, cases, names) for model in (first, second)]
    rows = {landmark: paired_difference(errors[0][:, [k]], errors[1][:, [k]]) for k, landmark in enumerate(names)}
    p_values = [np.nan if row["p_value"] is None else row["p_value"] for row in rows.values()]
    for row, corrected in zip(rows.values(), holm(p_values), strict=True):
        row["p_value_holm"] = None if np.isnan(corrected) else corrected
    return {"name": name, "all": paired_difference(*errors), "per_landmark": rows}


def common_errors(first: Comparison, second: Comparison) -> np.ndarray:
    """Errors of the second model on the cases and landmarks of the first, NaN where it has none."""
    out = np.full(first.errors.shape, np.nan)
    for n, case in enumerate(first.cases):
        for k, landmark in enumerate(first.names):
            if case in second.cases and landmark in second.names:
                out[n, k] = second.errors[second.cases.index(case), second.names.index(landmark)]
    return out


def _common(model: Comparison, cases: list[str], names: list[str]) -> np.ndarray:
    rows, columns = [model.cases.index(case) for case in cases], [model.names.index(name) for name in names]
    return model.errors[np.ix_(rows, columns)]
