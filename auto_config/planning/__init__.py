"""From a fingerprint to a plan: pure functions on numbers, each decision with its reason."""

from auto_config.methods.plan import DECISION_NAMES, Decision, Plan
from auto_config.planning.options import PlanOptions
from auto_config.planning.planner import make_plan
from auto_config.planning.splits import Split, make_split, read_test_file

__all__ = ["DECISION_NAMES", "Decision", "Plan", "PlanOptions", "Split", "make_plan", "make_split", "read_test_file"]
