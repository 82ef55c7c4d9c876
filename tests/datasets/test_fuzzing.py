"""Every parser on spoiled files: a data set, problems or an error of one line, and no case lost without a word."""

import sys

import pytest
from format_examples import CASES, EXAMPLES, outcome
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_examples import IMAGES, image_outcome, in_a_child
from spoiling import spoil

from auto_config.datasets import read_dataset


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_read(name, tmp_path):
    forced, write = EXAMPLES[name]
    write(tmp_path)
    dataset, problems = read_dataset(tmp_path)
    assert dataset.format == forced
    assert [problem.message for problem in problems if "no case" not in problem.message] == []
    assert [case.name.removeprefix("sub-") for case in dataset.cases] == list(CASES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_spoiled_files_never_break_a_parser(name, tmp_path):
    forced, write = EXAMPLES[name]
    files = write(tmp_path)
    contents = [path.read_bytes() for path in files]

    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, len(files) - 1), st.one_of(st.integers(0, 2**32), st.binary(max_size=40)), st.booleans())
    def check(which, change, detected):
        spoiled = change if isinstance(change, bytes) else spoil(contents[which], change)
        files[which].write_bytes(spoiled)
        try:
            outcome(tmp_path, None if detected else forced, spoiled)
        finally:
            files[which].write_bytes(contents[which])

    check()


@pytest.mark.parametrize("name", IMAGES)
def test_the_images_are_read(name, tmp_path):
    IMAGES[name](tmp_path)
    # A colour picture, and a pixel size from a resolution, are warned of.
    assert image_outcome(tmp_path) == ("problems" if name in ("bmp", "tiff") else "read")


@pytest.mark.skipif(sys.platform == "win32", reason="a spoiled image is read in a forked process")
@pytest.mark.parametrize("name", IMAGES)
def test_spoiled_images_never_break_a_reader(name, tmp_path):
    files = IMAGES[name](tmp_path)
    contents = [path.read_bytes() for path in files]
    image_outcome(tmp_path)  # loads the reader once, for all children

    def check():
        for seed in range(100):
            which = seed % len(files)
            files[which].write_bytes(spoil(contents[which], seed))
            try:
                image_outcome(tmp_path)
            except Exception as error:
                raise AssertionError(f"seed {seed}") from error
            files[which].write_bytes(contents[which])

    assert in_a_child(check) == 0
