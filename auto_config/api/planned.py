"""From a data set to a plan, and from a plan to a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from auto_config.api.data import refuse_errors
from auto_config.bundle.credits import Credits
from auto_config.bundle.planning_data import Planned, SplitOptions, plan_data
from auto_config.bundle.writer import write_bundle as write_files
from auto_config.choices import Outside
from auto_config.datasets import Dataset
from auto_config.memory.hardware import gpu_memory_gb
from auto_config.planning import PlanOptions


def plan(
    dataset: Dataset,
    options: PlanOptions | None = None,
    *,
    folds: int | None = None,
    test_fraction: float | None = None,
    test: Sequence[str] | None = None,
    few_labels: bool | None = None,
    outside: Outside = "error",
    seed: int = 0,
    workers: int | None = None,
) -> Planned:
    """Check and measure a data set, and plan for it.

    Args:
        dataset: what `read_dataset` gave.
        options: wishes: method, network, memory, spacing, ...; the planner decides what is None.
        folds: number of folds; None for 5, or one for each case where few are labelled.
        test_fraction: share of the cases held out for a test; None for a fifth, or none where few are labelled.
        test: names of the cases held out, in place of a share.
        few_labels: plan for few labelled cases; None where there are few.
        outside: ``"error"``, or ``"absent"`` for points outside of their image.
        seed: of the split.
        workers: processes that read images.

    Raises:
        UserError: the data would train wrongly, or an option cannot be planned.
    """
    wishes = options or PlanOptions()
    if wishes.found_gpu_memory_gb is None:
        wishes = replace(wishes, found_gpu_memory_gb=gpu_memory_gb())
    split = SplitOptions(folds, test_fraction, test, few_labels, seed)
    return plan_data(dataset, wishes, split, refuse_errors, outside=outside, workers=workers)


def write_bundle(
    planned: Planned,
    path: str | Path,
    *,
    seed: int = 0,
    pretrained: str | Path | None = None,
    atlas: str | None = None,
    authors: str | None = None,
    copyright: str | None = None,
    data_source: str | None = None,
    data_license: str | None = None,
    changes: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the bundle of a plan, whole or not at all.

    Args:
        planned: what `plan` gave.
        path: folder to write; its name is the bundle's name.
        seed: of samples and first weights.
        pretrained: file of weights that the training starts from.
        atlas: training case whose image the atlas shows, or ``"nearest"`` to the mean shape; None for no image.
        authors: of the model, for ``metadata.json`` and the card; None, as of the next four, leaves a placeholder that
            ``auto_config package`` can still replace.
        copyright: of the model.
        data_source: where the data come from.
        data_license: of the data.
        changes: what is in the first version.
        overwrite: replace a bundle that is there, with its weights.

    Returns:
        The folder.

    Raises:
        UserError: the folder exists and is not to be replaced, or is something else than a bundle.
    """
    weights = None if pretrained is None else Path(pretrained)
    parts = (planned.dataset, planned.plan, planned.split, planned.fingerprint)
    credits = Credits(authors, copyright, data_source, data_license, changes)
    write_files(Path(path), *parts, seed=seed, weights=weights, atlas=atlas, credits=credits, overwrite=overwrite)
    return Path(path)
