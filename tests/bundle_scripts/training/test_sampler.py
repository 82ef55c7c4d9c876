"""Samples are numbered over all epochs and processes, also after a resume."""

import pytest
from monai.data import DataLoader
from toy_training import Lines, Training

from auto_config.bundle_scripts.training.sampler import GlobalIndexSampler, case_of, share_of_cases


def test_an_epoch_is_a_range_of_global_indices():
    sampler = GlobalIndexSampler(6)
    sampler.set_epoch(3)
    assert list(sampler) == [18, 19, 20, 21, 22, 23]
    assert len(sampler) == 6


def test_processes_share_an_epoch():
    shares = []
    for rank in range(3):
        sampler = GlobalIndexSampler(6, rank, 3)
        sampler.set_epoch(2)
        assert len(sampler) == 2
        shares += list(sampler)
    assert sorted(shares) == list(range(12, 18))


@pytest.mark.parametrize(("step", "processes"), [(2, 2), (4, 2), (6, 3), (8, 4)])
def test_each_step_has_the_samples_of_one_process_and_nobody_always_gets_the_last(step, processes):
    steps = 12
    dealt = []
    for rank in range(processes):
        sampler = GlobalIndexSampler(step * steps, rank, processes, step)
        sampler.set_epoch(1)
        own, each = list(sampler), step // processes
        dealt.append([own[i : i + each] for i in range(0, len(own), each)])
    for number in range(steps):
        first = step * (steps + number)
        assert sorted(i for own in dealt for i in own[number]) == list(range(first, first + step))
    # With nnU-Net's share, the last third of a batch is centred on landmarks.
    centred = [sum(i % step >= round(step * 0.67) for part in own for i in part) for own in dealt]
    assert len(set(centred)) == 1
    assert centred[0] > 0


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
@pytest.mark.parametrize("cases", [0, 1, 2, 7, 20])
def test_cases_are_shared_in_their_order(cases, processes):
    shares = [list(share_of_cases(cases, rank, processes)) for rank in range(processes)]
    if cases < processes:
        assert shares == [list(range(cases))] * processes
    else:
        assert [case for share in shares for case in share] == list(range(cases))
        assert {len(share) for share in shares} <= {cases // processes, -(-cases // processes)}
        assert len(shares[0]) == max(map(len, shares))


@pytest.mark.parametrize(("samples", "processes"), [(0, 1), (-4, 2), (5, 2)])
def test_an_epoch_must_be_divisible(samples, processes):
    with pytest.raises(ValueError, match=f"samples_per_epoch is {samples}; it must be a positive multiple"):
        GlobalIndexSampler(samples, 0, processes)


def test_monai_advances_the_epoch_so_no_sample_comes_twice(tmp_path):
    class Recording(Lines):
        def __init__(self):
            super().__init__()
            self.seen = []

        def __getitem__(self, index):
            self.seen.append(index)
            return super().__getitem__(index)

    data = Recording()
    training = Training(tmp_path, epochs=3)
    training.trainer.data_loader = DataLoader(data, batch_size=2, sampler=training.trainer.data_loader.sampler)
    training.run()
    assert data.seen == list(range(10, 40))


@pytest.mark.parametrize("options", [{"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}])
def test_workers_change_nothing(options):
    def batches(**options):
        sampler = GlobalIndexSampler(4)
        loader, result = DataLoader(Lines(), batch_size=2, sampler=sampler, **options), []
        for epoch in range(1, 3):
            sampler.set_epoch(epoch)
            result += [batch["image"].tolist() for batch in loader]
        return result

    assert batches(**options) == batches(num_workers=0)


def test_each_pass_is_a_fresh_permutation_of_the_cases():
    passes = [[case_of(index, 7, seed=5) for index in range(7 * n, 7 * n + 7)] for n in range(20)]
    assert all(sorted(cases) == list(range(7)) for cases in passes)
    assert len({tuple(cases) for cases in passes}) > 15
    assert passes[3] != [case_of(index, 7, seed=6) for index in range(21, 28)]


def test_a_case_depends_on_index_and_seed_only():
    forward = [case_of(index, 5, seed=1) for index in range(30)]
    backward = [case_of(index, 5, seed=1) for index in reversed(range(30))]
    assert forward == backward[::-1]


def test_there_must_be_a_case():
    with pytest.raises(ValueError, match="no training cases"):
        case_of(0, 0, seed=0)
