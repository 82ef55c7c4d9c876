"""`create`: read a data set, check it, plan, and write a bundle."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from auto_config.bundle.writer import check_target, write_bundle
from auto_config.datasets import Dataset, Problem, read_dataset
from auto_config.datasets.checks.cases import Outside
from auto_config.datasets.checks.duplicates import leak_problems
from auto_config.datasets.checks.splits import few_cases, untrained_landmarks
from auto_config.datasets.formats.shared.image_names import meant_name
from auto_config.datasets.formats.shared.options import Coordinates, NameField
from auto_config.datasets.formats.shared.tables import read_table, row_of, stated
from auto_config.datasets.reading import Missing
from auto_config.errors import UserError
from auto_config.fingerprint.measuring import measure_cases
from auto_config.fingerprint.summary import all_problems, digests_of, summarise
from auto_config.inspection.problems import problem_lines
from auto_config.methods.choosing import check_names, earlier_names
from auto_config.planning import Plan, PlanOptions, make_plan, make_split, read_test_file
from auto_config.planning.hardware import gpu_memory_gb as find_gpu_memory

_SHOWN = 20


def create(
    source: str | Path,
    bundle: str | Path,
    *,
    method: str | None = None,
    network: str | None = None,
    recipe: str | None = None,
    preset: str | None = None,
    gpu_memory_gb: float | None = None,
    folds: int = 5,
    test_fraction: float = 0.2,
    test: str | Path | None = None,
    groups: str | Path | None = None,
    landmarks: Sequence[str] | None = None,
    modality: str | None = None,
    channels: Sequence[str] | None = None,
    spacing: Sequence[float] | None = None,
    patch_size: Sequence[int] | None = None,
    stages: int | None = None,
    format: str | None = None,
    missing: Missing = "unknown",
    outside: Outside = "error",
    coordinates: Coordinates | None = None,
    names: NameField | None = None,
    pixel_spacing: Sequence[float] | None = None,
    missing_value: str | None = None,
    pretrained: str | Path | None = None,
    overwrite: bool = False,
    seed: int = 0,
    workers: int | None = None,
) -> int:
    """Read a data set, choose everything that training needs, and write a MONAI Bundle.

    Args:
        source: the data set, as for `inspect`.
        bundle: folder to write.
        method: one of `auto_config.methods.METHODS`; None for the first one.
        network: one of `auto_config.methods.BACKBONES` that the method takes; None for the planner's choice.
        recipe: earlier name of `method`.
        preset: earlier name for a method and a network.
        gpu_memory_gb: memory to plan for; None for this machine's.
        folds: number of folds.
        test_fraction: share of the cases to hold out where the source marks none.
        test: file with the names of the test cases.
        groups: CSV with the columns case and group: cases of one group stay together.
        landmarks: names to keep, in this order; with a folder of images alone, the names to annotate.
        modality: ``ct`` or ``mr``, or one for each channel: ``ct,mr``.
        channels: what the channels are called.
        spacing: mm of the planned grid, RAS order.
        patch_size: voxels, RAS order.
        stages: 1 or 2.
        format: of the source; None detects it.
        missing: what a name that a case lacks means.
        outside: what a point outside its image means.
        coordinates: what the numbers of a table are, see `read_dataset`.
        names: what points of Slicer's files are called by, see `read_dataset`.
        pixel_spacing: pixel size of pictures in mm, one number or (x, y).
        missing_value: what marks a missing point, see `read_dataset`.
        pretrained: bundle whose weights the training starts from.
        overwrite: replace the bundle if it is there.
        seed: of the split and of the training.
        workers: processes to read with; None for one on each core.

    Returns:
        0.

    Raises:
        UserError: wrong options, or data that would train wrongly; every such problem is printed first.
    """
    console = Console(stderr=True, highlight=False)
    target = Path(bundle)
    check_target(target, overwrite)
    weights = None if pretrained is None else pretrained_weights(Path(pretrained))
    method, network, note = earlier_names(method, network, recipe, preset)
    if note is not None:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    check_names(method, network)
    options = PlanOptions(
        method=method,
        network=network,
        gpu_memory_gb=gpu_memory_gb,
        found_gpu_memory_gb=find_gpu_memory(),
        spacing=None if spacing is None else tuple(spacing),
        patch_size=None if patch_size is None else tuple(patch_size),
        stages=stages,
        modality=modality,
        channel_names=None if channels is None else tuple(channels),
    )
    test_names = None if test is None else read_test_file(Path(test))
    dataset, problems = read_dataset(
        source,
        format=format,
        missing=missing,
        landmarks=landmarks,
        coordinates=coordinates,
        names=names,
        pixel_spacing=pixel_spacing,
        missing_value=missing_value,
    )
    options.check(dataset.spatial_dims)
    if test_names is not None:
        cases = {case.name for case in dataset.cases}
        test_names = [meant_name(name, cases) or name for name in test_names]
    if groups is not None:
        dataset = with_groups(dataset, Path(groups))
    measured = measure_cases(dataset, outside=outside, workers=workers)
    problems += all_problems(dataset, measured)
    report(problems, console)
    dataset = replace(dataset, cases=tuple(one.case for one in measured))
    split = make_split(dataset.cases, folds=folds, test_fraction=test_fraction, test_names=test_names, seed=seed)
    # Test cases may have been chosen only now; those that the source declares were judged above.
    found = [
        *leak_problems(dataset.cases, digests_of(measured), set(split.test)),
        *untrained_landmarks(dataset.cases, dataset.names, set(split.test), dataset.source),
        *few_cases(split.folds, split.test, dataset.source),
    ]
    report([problem for problem in found if problem not in problems], console)
    numbers = summarise(dataset, measured, without=split.test)
    plan = make_plan(numbers, options, split.decisions)
    write_bundle(target, dataset, plan, split, numbers, seed=seed, weights=weights, overwrite=overwrite)
    tell(target, plan, console)
    return 0


def report(problems: Sequence[Problem], console: Console) -> None:
    """Print warnings and errors, one line each.

    Raises:
        UserError: if there is an error; it says how many there are.
    """
    errors = [problem for problem in problems if problem.severity == "error"]
    for kind, group in (("warning", [p for p in problems if p.severity == "warning"]), ("error", errors)):
        lines = [line for _, line in problem_lines(group)]
        for line in lines[:_SHOWN]:
            console.print(f"{kind}: {line}", markup=False, soft_wrap=True)
        if len(lines) > _SHOWN:
            console.print(f"{kind}: ... and {len(lines) - _SHOWN} more lines; `auto_config inspect` prints all")
    if errors:
        noun = "problem" if len(errors) == 1 else "problems"
        raise UserError(
            f"no bundle was written: {len(errors)} {noun} above would train wrongly; correct the data first"
        )


def with_groups(dataset: Dataset, path: Path) -> Dataset:
    """The data set with the groups of a CSV with the columns case and group.

    Raises:
        UserError: if the file cannot be read, lacks a column, or names a case that is not there.
    """
    try:
        header, lines = read_table(path)
    except UserError as error:
        raise UserError(f"{error} (groups are a CSV with the columns case,group)") from error
    header = [name.lower() for name in header]
    if not lines or not {"case", "group"} <= set(header):
        raise UserError(f"{path}: needs the columns case,group and at least one line below them")
    names = {case.name for case in dataset.cases}
    rows = [row_of(header, values, f"{path}: line {number}") for number, values in lines]
    cases = [row.get("case", "") for row in rows]
    cases = [meant_name(case, names) or case for case in cases]
    groups = {case: stated(row.get("group", "")) or None for case, row in zip(cases, rows, strict=True)}
    unknown = sorted(set(groups) - names)
    if unknown:
        raise UserError(f"{path}: names case {unknown[0]!r}, which is not in the data set ({len(unknown)} such)")
    return replace(dataset, cases=tuple(replace(case, group=groups.get(case.name)) for case in dataset.cases))


def pretrained_weights(bundle: Path) -> Path:
    """The weights of a bundle.

    Raises:
        UserError: if it has none.
    """
    weights = bundle / "models" / "model.pt"
    if not weights.is_file():
        raise UserError(f"--pretrained {bundle}: has no models/model.pt; give the folder of a trained bundle")
    return weights


def tell(bundle: Path, plan: Plan, console: Console) -> None:
    """Say in a few lines what was decided and what to type next."""
    for name in ("method", "network", "spacing", "stages"):
        decision = plan.decisions[name]
        value = decision.value
        if name == "stages":
            value = ", ".join(f"{s['name']} {'x'.join(map(str, s['patch_size']))}" for s in value)
        console.print(f"[bold]{name}[/bold] {escape(f'{value}: {decision.reason}')}", soft_wrap=True)
    # On one line and quoted, so that it can be copied as it is.
    following = f"auto_config train {shlex.quote(str(bundle))}"
    console.print(
        f"{bundle}: written; configs/plan.json has every decision. Next: {following}", markup=False, soft_wrap=True
    )
