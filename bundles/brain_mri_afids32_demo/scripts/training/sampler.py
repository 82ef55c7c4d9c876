"""Which sample comes next: global indices, so that a sample depends on the seed and its number and on nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import ignite.distributed as idist
import numpy as np
from torch.utils.data import DistributedSampler, Sampler


class GlobalIndexSampler(DistributedSampler):
    """Yield the global indices ``epoch * samples_per_epoch + i`` of one epoch, or a rank's share of them.

    No index ever comes twice in a training, so a dataset whose sample is a pure function of its index gives the same
    samples after a resume, with any number of workers, persistent or not, and on any number of processes.

    It is a `DistributedSampler` because MONAI's engines call `set_epoch` of those, and only of those, when an epoch
    starts. They count epochs from 1, so the first index of a training is ``samples_per_epoch``.

    The samples of a step are dealt like cards, and the process that gets the first one changes from step to step. So
    where the last samples of a batch are the ones around landmarks, no process gets all of them.

    Args:
        samples_per_epoch: Samples of one epoch, of all processes together.
        rank: Number of this process, from 0.
        world_size: Number of processes.
        samples_per_step: Samples of one step of all processes together, a multiple of `world_size`; None for one of
            each process.

    Raises:
        ValueError: If `samples_per_epoch` is not a positive multiple of `world_size`, or `rank` is out of range.
    """

    def __init__(
        self, samples_per_epoch: int, rank: int = 0, world_size: int = 1, samples_per_step: int | None = None
    ) -> None:
        if samples_per_epoch < 1 or samples_per_epoch % world_size:
            raise ValueError(
                f"samples_per_epoch is {samples_per_epoch}; it must be a positive multiple of the {world_size} "
                "processes: use iterations_per_epoch x batch_size x number of processes."
            )
        # Only the length of the data set is asked for, and a range has one.
        super().__init__(range(samples_per_epoch), num_replicas=world_size, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.samples_per_epoch = samples_per_epoch
        self.samples_per_step = world_size if samples_per_step is None else samples_per_step

    def __iter__(self) -> Iterator[int]:
        first, step = self.epoch * self.samples_per_epoch, self.samples_per_step
        for start in range(first, first + self.samples_per_epoch, step):
            seat = (self.rank + start // step) % self.num_replicas
            yield from range(start + seat, min(start + step, first + self.samples_per_epoch), self.num_replicas)


class ShareOfCases(Sampler[int]):
    """The cases that one of several processes validates: neighbours in the list, each case in one process.

    So what the processes found, one after the other, is in the order of the list. Where there are fewer cases than
    processes, each validates all of them: a process without a case would not answer the others. A mean is the same.

    Args:
        data: All cases.
    """

    def __init__(self, data: Sized) -> None:
        self.indices = share_of_cases(len(data), idist.get_rank(), idist.get_world_size())

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


def share_of_cases(cases: int, rank: int, processes: int) -> range:
    """Which of some cases a process looks at; the first processes have one more where they cannot be even.

    Args:
        cases: Their number.
        rank: Number of the process, from 0.
        processes: How many there are.
    """
    if cases < processes:
        return range(cases)
    each, more = divmod(cases, processes)
    first = rank * each + min(rank, more)
    return range(first, first + each + (rank < more))


def case_of(global_index: int, number_of_cases: int, seed: int) -> int:
    """Say which case a sample is drawn from: each pass over the cases goes through a fresh permutation of them.

    Args:
        global_index: Number of the sample, from 0.
        number_of_cases: Cases in the training set.
        seed: Seed of the training, not negative.

    Returns:
        Index of the case, ``0 <= index < number_of_cases``.

    Raises:
        ValueError: If there are no cases.
    """
    if number_of_cases < 1:
        raise ValueError("There are no training cases: give at least one in train#dataset#data.")
    number_of_pass, position = divmod(global_index, number_of_cases)
    return int(np.random.default_rng((seed, number_of_pass)).permutation(number_of_cases)[position])
