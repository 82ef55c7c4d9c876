"""From a data set that was read to all that a bundle is written from: checked, measured, split and planned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from auto_config.choices import Outside
from auto_config.datasets import Case, Dataset, Problem
from auto_config.datasets.checks.duplicates import leak_problems
from auto_config.datasets.checks.splits import few_cases, untrained_landmarks
from auto_config.fingerprint.measuring import measure_cases
from auto_config.fingerprint.summary import Fingerprint, all_problems, digests_of, summarise
from auto_config.planning import Plan, PlanOptions, Split, make_plan, make_split
from auto_config.planning.few_labels import are_few, folds_and_test, split_decisions
from auto_config.planning.splits import number_to_train_on


@dataclass(frozen=True)
class Planned:
    """All that a bundle is written from.

    Attributes:
        dataset: the cases, checked.
        plan: every decision with its reason: ``plan.decisions["spacing"].value`` and ``.reason``.
        split: which case is in which fold, and the test cases.
        fingerprint: the numbers that the plan came from.
    """

    dataset: Dataset
    plan: Plan
    split: Split
    fingerprint: Fingerprint

    def __str__(self) -> str:
        """The decisions, one on a line."""
        return "\n".join(f"{name}: {one.value} ({one.reason})" for name, one in self.plan.decisions.items())


@dataclass(frozen=True)
class SplitOptions:
    """Wishes for the split; None leaves a decision to the planner.

    Args:
        folds: number of cross-validation folds.
        test_fraction: share of the cases to hold back, where the source marks none.
        test: names of the cases to hold back, in place of a share.
        few_labels: plan for few labelled cases; None where there are few.
        seed: of the split.
    """

    folds: int | None = None
    test_fraction: float | None = None
    test: Sequence[str] | None = None
    few_labels: bool | None = None
    seed: int = 0


def plan_data(
    dataset: Dataset,
    options: PlanOptions,
    wishes: SplitOptions,
    refuse: Callable[[list[Problem]], None],
    *,
    outside: Outside = "error",
    workers: int | None = None,
    problems: Sequence[Problem] = (),
) -> Planned:
    """Check, measure, split and plan.

    Args:
        dataset: as it was read.
        options: wishes for the plan.
        wishes: for the split.
        refuse: shows problems, and raises where one is an error.
        outside: what a point outside of its image is.
        workers: processes that read images; None for one on each core.
        problems: what was found while reading.

    Raises:
        UserError: an option cannot be planned, and whatever `refuse` raises.
    """
    options.check(dataset.spatial_dims)
    measured = measure_cases(dataset, outside=outside, workers=workers)
    known = [*problems, *all_problems(dataset, measured)]
    refuse(known)
    dataset = replace(dataset, cases=tuple(one.case for one in measured))
    split, few = chosen_split(dataset.cases, wishes)
    # Test cases may have been chosen only now; those that the source declares were judged above.
    found = [
        *leak_problems(dataset.cases, digests_of(measured), set(split.test)),
        *untrained_landmarks(dataset.cases, dataset.names, set(split.test), dataset.source),
        *few_cases(split.folds, split.test, dataset.source),
    ]
    refuse([problem for problem in found if problem not in known])
    numbers = summarise(dataset, measured, without=split.test)
    plan = make_plan(numbers, replace(options, few_labels=few), split.decisions)
    return Planned(dataset, plan, split, numbers)


def chosen_split(cases: Sequence[Case], wishes: SplitOptions) -> tuple[Split, bool]:
    """Folds and test cases, and whether labelled cases are few.

    Args:
        cases: all that were read.
        wishes: for the split.

    Raises:
        UserError: a wish that cannot be met.
    """
    names = None if wishes.test is None else list(wishes.test)
    labelled = number_to_train_on(cases, names)
    few = are_few(labelled, wishes.few_labels)
    folds, fraction = folds_and_test(few, labelled, wishes.folds, wishes.test_fraction)
    split = make_split(cases, folds=folds, test_fraction=fraction, test_names=names, seed=wishes.seed)
    decisions = split_decisions(split.decisions, few, labelled, wishes.folds, wishes.test_fraction)
    return replace(split, decisions=decisions), few
