"""The page on GPUs: each finding of the review names tests that are there, and what it says of bytes is reckoned."""

import re

from doc_pages import ROOT

PAGE = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
TESTS = re.findall(r"`(tests/[\w/]+)(\.py)?(?:::(\w+))?`", PAGE)


def test_each_finding_has_a_test():
    rows = re.findall(r"^\| (\d+) \|.*\| (.*) \|$", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 20))
    # The table of waits is a test's own.
    assert all("`tests/" in where for _, where in rows)


def test_tests_that_are_named_are_there():
    assert len(TESTS) > 20
    for path, ending, name in TESTS:
        place = ROOT / (path + ending)
        assert place.exists(), place
        if name:
            assert re.search(rf"^def {name}\(", place.read_text(encoding="utf-8"), re.MULTILINE), (path, name)


def test_bytes_of_whole_heatmaps():
    sizes = {"300^3, 16 landmarks": 300**3 * 16, "300^3, 32 landmarks": 300**3 * 32}
    sizes["head CT 400 x 512 x 512, 14 landmarks"] = 400 * 512 * 512 * 14
    for name, voxels in sizes.items():
        assert f"| {name} | {4 * voxels / 1e9:.1f} GB | {8 * voxels / 1e9:.1f} GB |" in PAGE
