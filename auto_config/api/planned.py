"""From a data set to a plan, and from a plan to a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from auto_config.api.data import refuse_errors
from auto_config.bundle.writer import check_target
from auto_config.bundle.writer import write_bundle as write_files
from auto_config.choices import Outside
from auto_config.datasets import Dataset
from auto_config.datasets.checks.duplicates import leak_problems
from auto_config.datasets.checks.splits import few_cases, untrained_landmarks
from auto_config.fingerprint.measuring import measure_cases
from auto_config.fingerprint.summary import Fingerprint, all_problems, digests_of, summarise
from auto_config.planning import Plan, PlanOptions, Split, make_plan, make_split
from auto_config.planning.hardware import gpu_memory_gb


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


def plan(
    dataset: Dataset,
    options: PlanOptions | None = None,
    *,
    folds: int = 5,
    test_fraction: float = 0.2,
    test: Sequence[str] | None = None,
    outside: Outside = "error",
    seed: int = 0,
    workers: int | None = None,
) -> Planned:
    """Check and measure a data set, and plan for it.

    Args:
        dataset: what `read_dataset` gave.
        options: wishes: method, network, memory, spacing, ...; the planner decides what is None.
        folds: number of folds.
        test_fraction: share of the cases held out for a test.
        test: names of the cases held out, in place of a share.
        outside: ``"error"``, or ``"absent"`` for points outside of their image.
        seed: of the split.
        workers: processes that read images.

    Raises:
        UserError: the data would train wrongly, or an option cannot be planned.
    """
    wishes = options or PlanOptions()
    if wishes.found_gpu_memory_gb is None:
        wishes = replace(wishes, found_gpu_memory_gb=gpu_memory_gb())
    wishes.check(dataset.spatial_dims)
    measured = measure_cases(dataset, outside=outside, workers=workers)
    problems = all_problems(dataset, measured)
    refuse_errors(problems)
    checked = replace(dataset, cases=tuple(one.case for one in measured))
    names = None if test is None else list(test)
    split = make_split(checked.cases, folds=folds, test_fraction=test_fraction, test_names=names, seed=seed)
    # Test cases may have been chosen only now; those that the source declares were judged above.
    found = [
        *leak_problems(checked.cases, digests_of(measured), set(split.test)),
        *untrained_landmarks(checked.cases, checked.names, set(split.test), checked.source),
        *few_cases(split.folds, split.test, checked.source),
    ]
    refuse_errors([problem for problem in found if problem not in problems])
    numbers = summarise(checked, measured, without=split.test)
    return Planned(checked, make_plan(numbers, wishes, split.decisions), split, numbers)


def write_bundle(
    planned: Planned, path: str | Path, *, seed: int = 0, pretrained: str | Path | None = None, overwrite: bool = False
) -> Path:
    """Write the bundle of a plan, whole or not at all.

    Args:
        planned: what `plan` gave.
        path: folder to write; its name is the bundle's name.
        seed: of samples and first weights.
        pretrained: file of weights that the training starts from.
        overwrite: replace a bundle that is there, with its weights.

    Returns:
        The folder.

    Raises:
        UserError: the folder exists and is not to be replaced, or is something else than a bundle.
    """
    target = Path(path)
    check_target(target, overwrite)
    weights = None if pretrained is None else Path(pretrained)
    write_files(
        target,
        planned.dataset,
        planned.plan,
        planned.split,
        planned.fingerprint,
        seed=seed,
        weights=weights,
        overwrite=overwrite,
    )
    return target
