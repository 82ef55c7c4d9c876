"""Limits of verdicts: the rate of false alarms is the one that is promised, over simulated data sets."""

import numpy as np
import pytest

from auto_config.bundle_scripts.inference.verdict.judging import (
    CHECK,
    FAILED,
    OK,
    CaseScores,
    Reference,
    case_deviations,
    deviations,
    judge,
)
from auto_config.calibration.verdict.limits import (
    check_limit,
    failed_limit,
    good_cases,
    left_out_deviations,
    reference_of,
    usable,
)

NAMES = ["shape", "worst", "turn", "size", "place", "mirror", "confidence", "spread", "grey.0.50", "spacing"]
DATA_SETS = 1000


def simulated(random, cases, heavy):
    """Numbers of cases: some depend on each other, one is (nearly) always the same."""
    common = random.normal(size=(cases, 1))
    own = random.standard_t(3, (cases, len(NAMES))) if heavy else random.normal(size=(cases, len(NAMES)))
    values = 0.6 * common + 0.8 * own
    values *= [0.3, 0.4, 8.0, 0.1, 0.2, 0.5, 1.0, 0.2, 0.5, 0.0]
    if heavy:
        values[:, 9] = np.where(random.random(cases) < 0.02, 0.3, 0.0)
    return values


def alarm_rate(cases, *, heavy, new=4):
    """Share of new cases, like those of the calibration, that are not ok; over simulated data sets."""
    random = np.random.default_rng(0)
    alarms = 0
    for _ in range(DATA_SETS):
        values = simulated(random, cases + new, heavy)
        reference, _ = reference_of(values[:cases], NAMES, others="others", fits=True, coarse_fits=False)
        for row in values[cases:]:
            scores = CaseScores(dict(zip(NAMES, row.tolist(), strict=True)), misfit=0.0)
            alarms += judge(scores, reference).verdict != OK
    return alarms / DATA_SETS / new


@pytest.mark.parametrize("cases", [19, 42, 100])
@pytest.mark.parametrize("heavy", [False, True])
def test_false_alarms_are_at_the_promised_rate_whatever_the_distribution(cases, heavy):
    # 4 000 verdicts: a standard error of 0.35 percent points, of cases that share a calibration a little more.
    rate = alarm_rate(cases, heavy=heavy)
    assert 0.015 <= rate <= 0.05 + 0.012


@pytest.mark.parametrize("cases", [3, 5, 8, 12, 18])
def test_with_few_cases_the_rate_rests_on_normal_numbers(cases):
    assert alarm_rate(cases, heavy=False) <= 0.06


@pytest.mark.parametrize("cases", [8, 12, 18])
def test_with_few_cases_no_distribution_gives_more_than_one_in_all_of_them(cases):
    assert alarm_rate(cases, heavy=True) <= 1 / (cases + 1) + 0.015


def test_the_statistic_is_that_of_a_prediction_interval():
    values = np.array([1.0, 2.0, 3.0, 4.0])
    found = deviations(np.array([6.0]), values.mean(), values.std(ddof=1), 4, ["turn"])
    # The standard deviation, 1.29, is below the floor of 2 degrees.
    assert found == pytest.approx((6.0 - 2.5) / (2.0 * np.sqrt(1.25)))
    found = deviations(np.array([[1.0, -9.0]]), np.zeros(2), np.array([3.0, 3.0]), 1, ["turn", "grey.0.50"])
    assert found.tolist() == [[pytest.approx(1 / 3 / np.sqrt(2)), pytest.approx(3 / np.sqrt(2))]]
    assert deviations(np.array([np.nan]), np.zeros(1), np.ones(1), 9, ["shape"]).tolist() == [0.0]


def test_each_case_is_compared_with_the_others_alone():
    values = np.array([[10.0], [20.0], [36.0]])
    found = left_out_deviations(values, ["turn"])
    sd = np.std([10.0, 20.0], ddof=1)
    assert found[2] == pytest.approx((36 - 15) / (sd * np.sqrt(1.5)))
    assert found[0] == 0.0  # less turned than the others


def test_the_limit_is_a_rank_where_there_are_enough_cases_and_a_t_statistic_where_not():
    random = np.random.default_rng(1)
    values = random.normal(size=(19, 3)) * [10.0, 1.0, 0.1]
    limit, exact = check_limit(values, ["turn", "shape", "size"])
    assert exact and limit == pytest.approx(left_out_deviations(values, ["turn", "shape", "size"]).max())
    values = values[:6]
    limit, exact = check_limit(values[:, :2], ["turn", "shape"])
    # 2.5 % on one side of a t distribution with 5 degrees of freedom.
    assert not exact and limit == pytest.approx(2.571, abs=1e-3)
    # One that is unusual on both sides takes two shares, so the three have five of 1 % each: 99 % of each side.
    assert check_limit(values, ["turn", "grey.0.5", "size"])[0] == pytest.approx(3.365, abs=1e-3)


def test_cases_that_went_wrong_are_no_false_alarms():
    assert good_cases(np.array([0.2, 0.21, 0.19, 0.22, 3.0, np.nan])).tolist() == [True] * 4 + [False] * 2
    assert not good_cases(np.array([np.nan])).any()


def test_a_column_that_few_cases_have_is_not_compared():
    values = np.array([[1.0, np.nan, np.nan], [2.0, np.nan, 1.0], [3.0, 1.0, 1.0], [2.0, 1.0, 1.0]] * 5)
    values[0, 2] = 1.0
    assert usable(values, ["shape", "views", "mirror"])[1] == ["shape"]
    values[4::4, 2] = 1.0
    assert usable(values, ["shape", "views", "mirror"])[1] == ["shape", "mirror"]


def test_the_limit_of_failures_lies_between_good_cases_and_failures():
    none = np.zeros(0)
    assert failed_limit(4.0, none, none) == 8.0
    assert failed_limit(4.0, none, np.array([30.0, 36.0, 90.0])) == pytest.approx(12.0)
    assert failed_limit(4.0, none, np.array([4.1])) == 6.0
    assert failed_limit(4.0, np.array([3.0, 20.0]), np.array([36.0])) == pytest.approx(20.0)


def reference(**options):
    columns = {
        name: {"mean": mean, "sd": sd, "low": mean - sd, "high": mean + sd}
        for name, mean, sd in (("shape", -1.0, 0.2), ("mirror", -2.0, 0.2), ("grey.0.50", 0.5, 0.2), ("extent", 0, 0))
    }
    given = {"others": "unseen cases", "cases": 10**9, "columns": columns, "check": 4.0, "failed": 10.0} | options
    return Reference(**given)


def said(values, **options):
    misfit = options.pop("misfit", 0.0)
    usual = {"shape": -1.0, "mirror": -2.0, "grey.0.50": 0.5, "extent": 0.0}
    more = {key: options.pop(key) for key in ("too_few",) if key in options}
    return judge(CaseScores({**usual, **values}, misfit=misfit, **more), reference(**options))


def test_a_usual_case_is_ok_and_a_deviating_one_is_not():
    assert said({}) == judge(CaseScores({"shape": -1.0}), reference()).__class__(OK, (), (), 0.0)
    assert said({"mirror": -2.0 + 0.79}).verdict == OK
    found = said({"mirror": -2.0 + 0.81})
    assert found.verdict == CHECK and found.deviation == pytest.approx(4.05)
    assert found.reasons == ("the image and its mirror image disagree by 0.304 mm (unseen cases: 0.111 to 0.165)",)
    assert said({"mirror": -2.0 + 2.1}).verdict == FAILED
    both = said({"mirror": -2.0 + 1.0, "shape": -1.0 + 2.1})
    assert both.verdict == FAILED and both.reasons[0].startswith("the points lie") and len(both.reasons) == 2


def test_an_unusual_image_alone_is_to_be_looked_at():
    assert said({"grey.0.50": -9.0}).verdict == CHECK
    assert said({"extent": 1.5}).verdict == CHECK
    assert "is 4.48 times smaller or larger than any" in said({"extent": 1.5}).reasons[0]
    # With points that are unusual too, it is something else.
    assert said({"grey.0.50": -9.0, "shape": 0.0}).verdict == FAILED


def test_a_shape_that_cannot_be_fitted_has_failed_where_those_of_others_can():
    assert said({}, misfit=0.5).verdict == FAILED
    assert "50 % of the points do not fit the training shapes" in said({}, misfit=0.5).reasons
    assert said({}, too_few=True).verdict == FAILED
    assert said({}, misfit=0.5, fits=False).verdict == OK


def test_points_of_the_coarse_stage_that_fit_nothing_are_no_silence():
    scores = CaseScores({"shape": -1.0}, misfit=0.0, coarse_fits=False)
    assert judge(scores, reference()).verdict == OK
    found = judge(scores, reference(coarse_fits=True))
    assert found.verdict == CHECK and "coarse stage" in found.reasons[0]


def test_what_is_not_judged_is_said():
    found = judge(CaseScores({"shape": -1.0, "views": 3.0}, misfit=0.0), reference())
    assert found.verdict == OK
    assert found.not_judged == ("agreement of networks", "agreement with the mirror image", "grey values", "extent")
    nothing = judge(CaseScores({"border": 0.5}), None)
    assert nothing.verdict == CHECK and nothing.not_judged and nothing.deviation is None
    assert judge(CaseScores({}), None).verdict == OK
    assert judge(CaseScores({}, misfit=0.6), None).verdict == FAILED


def test_a_reference_is_read_as_it_was_written():
    assert Reference.read(reference(rate=0.05).document()) == reference(rate=0.05)
    assert case_deviations(CaseScores({"mirror": -1.0}), reference()) == {"mirror": pytest.approx(5.0)}
