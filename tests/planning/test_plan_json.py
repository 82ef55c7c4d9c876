"""A plan survives JSON and says what is missing."""

import pytest

from auto_config.methods.plan import Decision, Plan

PLAN = Plan(
    {
        "network": Decision("tiny", "no GPU was found"),
        "stages": Decision(
            [{"name": "coarse", "patch_size": [64, 48, 48]}, {"name": "fine", "patch_size": [32] * 3}], "é"
        ),
    }
)


def test_round_trip_keeps_values_and_reasons():
    again = Plan.from_json(PLAN.to_json())
    assert again == PLAN
    assert again.value("network") == "tiny"
    assert again.reason("network") == "no GPU was found"
    assert again.stage("fine")["patch_size"] == [32, 32, 32]


def test_unknown_names_are_told():
    with pytest.raises(KeyError, match=r"'spacings'.*network, stages"):
        PLAN.value("spacings")
    with pytest.raises(KeyError, match="middle"):
        PLAN.stage("middle")


def test_decision_without_reason_is_refused():
    with pytest.raises(ValueError, match=r"'network'.*'reason'"):
        Plan.from_dict({"network": {"value": "tiny"}})


def test_nan_never_reaches_a_file():
    with pytest.raises(ValueError, match="JSON"):
        Plan({"pad_value": Decision(float("nan"), "")}).to_json()


def test_plans_of_earlier_versions_name_their_method_a_recipe():
    earlier = {name: {"value": name, "reason": "given"} for name in ("network", "recipe", "preset")}
    plan = Plan.from_dict(earlier)
    assert plan.value("method") == "recipe"
    assert list(plan.to_dict()) == ["network", "method", "preset"]
