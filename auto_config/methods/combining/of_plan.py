"""The method of a plan, with the parts that stand in the plan instead of its own."""

from __future__ import annotations

from auto_config.methods import METHODS
from auto_config.methods.base import Method
from auto_config.methods.combining.chosen import Combination, combined
from auto_config.methods.plan import Plan


def method_of(plan: Plan) -> Method:
    """The method of a plan. Plans of earlier versions have the method's own parts."""
    method = METHODS[plan.value("method")]
    if "parts" not in plan.decisions:
        return method
    return combined(method, Combination(**plan.value("parts")))
