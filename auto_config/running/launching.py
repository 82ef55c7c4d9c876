"""What a person says of jobs, as `train` takes it: checked, light, before anything is imported that starts them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from auto_config.errors import UserError
from auto_config.running.time_budget import parse_time_budget

LOCAL, SLURM = "local", "slurm"


@dataclass(frozen=True)
class Launch:
    """How jobs are started.

    Args:
        launcher: ``local`` or ``slurm``.
        jobs: How many run at a time on this machine; None for as many as there are GPUs, one without GPUs.
        partition: Of Slurm.
        minutes: After which Slurm ends a job; None for Slurm's own limit.
        memory_gb: Of a job of Slurm.
        options: Further options of ``sbatch`` by name.
    """

    launcher: str
    jobs: int | None = None
    partition: str | None = None
    minutes: int | None = None
    memory_gb: float | None = None
    options: Mapping[str, str] = field(default_factory=dict)


def launch_options(  # noqa: PLR0917
    launcher: str | None,
    jobs: int | None,
    partition: str | None,
    time_limit: str | float | None,
    memory_gb: float | None,
    sbatch: Sequence[str] | None,
) -> Launch | None:
    """What the options of `train` say of jobs; None where there are none.

    Raises:
        UserError: An option that its launcher does not have, or one that is wrong.
    """
    of_slurm = {"partition": partition, "time_limit": time_limit, "memory_gb": memory_gb, "sbatch": sbatch}
    given = [name for name, value in of_slurm.items() if value is not None]
    if launcher not in (None, LOCAL, SLURM):
        raise UserError(f"launcher is {launcher!r}; allowed are {LOCAL} and {SLURM}.")
    if given and launcher != SLURM:
        raise UserError(f"{given[0]} is an option of Slurm; give it with --launcher {SLURM}.")
    if jobs is not None and launcher != LOCAL:
        raise UserError(f"jobs says how many trainings run at a time on this machine; give it with --launcher {LOCAL}.")
    if launcher is None:
        return None
    if memory_gb is not None and not (math.isfinite(memory_gb) and memory_gb > 0):
        raise UserError(f"memory_gb is {memory_gb}; give a number above 0.")
    options = {}
    for text in sbatch or ():
        name, equals, value = text.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise UserError(f"sbatch has {text!r}; give options of sbatch as name=value, with commas between them.")
        options[name.strip().lstrip("-")] = value.strip()
    minutes = None if time_limit is None else math.ceil(_limit(time_limit) / 60)
    return Launch(launcher, jobs, partition, minutes, memory_gb, options)


def _limit(time_limit: str | float) -> float:
    try:
        return parse_time_budget(time_limit)
    except UserError as error:
        raise UserError(str(error).replace("time_budget", "time_limit")) from error
