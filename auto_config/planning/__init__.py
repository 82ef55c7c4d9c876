"""From a fingerprint to a plan: pure functions on numbers, each decision with its reason."""

from auto_config.planning.plan import DECISION_NAMES, Decision, Plan

__all__ = ["DECISION_NAMES", "Decision", "Plan"]
