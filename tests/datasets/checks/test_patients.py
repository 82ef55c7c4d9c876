"""Scans of one patient are found by their names, and no other names are taken for such."""

import pytest

from auto_config.commands.create import with_groups
from auto_config.datasets import read_dataset
from auto_config.datasets.checks.cohort import cohort_problems
from auto_config.datasets.checks.patients import patient_problems, related_names
from auto_config.datasets.model.dataset import Case
from auto_config.planning.splits import make_split

GENIUS = [f"genius_{n:03d}{scan}" for n in (80, 81, 97, 120) for scan in (0, 1)]


@pytest.mark.parametrize(
    ("names", "first", "count"),
    [
        (GENIUS, ["genius_0800", "genius_0801"], 4),
        ([f"P{n:02d}_{side}" for n in range(5) for side in "LR"], ["P00_L", "P00_R"], 5),
        (["ann_pre", "ann_post", "ben_pre"], ["ann_pre", "ann_post"], 1),
        (["ann-t1", "ann-t2", "ben-t1"], ["ann-t1", "ann-t2"], 1),
        ([f"P{n:02d}_{scan}" for n in (3, 7, 9) for scan in (1, 2)], ["P03_1", "P03_2"], 3),
    ],
)
def test_names_of_scans_of_one_patient(names, first, count):
    found = related_names(names)
    assert (found[0], len(found)) == (first, count)


@pytest.mark.parametrize(
    "names",
    [
        [f"case_{n:03d}" for n in range(1, 41)],
        [f"case_{n:03d}" for n in range(5)],
        [f"case_{n:04d}" for n in range(0, 300, 7)],
        ["img_12", "img_13", "img_20", "img_21"],
        [f"site{site}_{n:03d}" for site in (1, 2, 3) for n in range(1, 8)],
        ["A_J", "AKR_J", "C57BL_6J", "C57L_J", "DBA_1J", "DBA_2J", "BALB_cJ", "129X1_SvJ", "C3H_HeJ", "PL_J", "SM_J"],
        ["ann", "ben", "carl"],
        ["ann_L", "ben_L", "carl_R"],
        [],
    ],
)
def test_other_names_are_no_such_groups(names):
    assert related_names(names) == []


def test_the_remedy_ends_the_warning(tmp_path):
    cases = [Case(name, (tmp_path / name,), None) for name in GENIUS]
    (problem,) = patient_problems(cases, tmp_path)
    assert "genius_0800 and genius_0801" in problem.message and "--groups" in problem.message
    assert patient_problems([Case(c.name, c.image, None, group=c.name[:10]) for c in cases], tmp_path) == []


def test_a_bids_subject_is_one_group(folder):
    for subject in range(1, 6):
        for session in (1, 2):
            folder.case(f"sub-{subject:02d}_ses-{session}_T1w")
    dataset, problems = read_dataset(folder.root)
    assert {(case.name[:6], case.group) for case in dataset.cases} == {(f"sub-0{n}",) * 2 for n in range(1, 6)}
    (problem,) = [problem for problem in problems if "BIDS" in problem.message]
    assert "5 of 5 BIDS subjects have several cases, sub-01 has 2" in problem.message
    split = make_split(dataset.cases, folds=2, test_fraction=0.2, test_names=None, seed=0)
    test = {name[:6] for name in split.test}
    assert test and not test & {case.name[:6] for case in dataset.cases if case.name not in split.test}
    assert patient_problems(dataset.cases, folder.root) == []


def test_inspect_and_create_ask_for_it(folder):
    for case in ("P01_L", "P01_R", "P02_L"):
        folder.case(case)
    dataset, _ = read_dataset(folder.root)
    told = [problem.message for problem in cohort_problems(dataset, dataset.cases, {})]
    assert [text for text in told if "P01_L and P01_R may be scans of one patient" in text]
    table = folder.root / "groups.csv"
    table.write_text("case,group\nP01_L,P01\nP01_R,P01\nP02_L,P02\n")
    dataset = with_groups(dataset, table)
    assert not [p for p in cohort_problems(dataset, dataset.cases, {}) if "patient" in p.message]
