"""Files of clients are read in processes that can be ended: no file of theirs holds up or fills the server."""

import os
import signal
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
from label_tools import AFFINE, GRID, NAMES, POINTS, SHAPE, balls, save
from landmark_app.lib.core.errors import ClientError
from landmark_app.lib.labels import label_map_form
from landmark_app.lib.labels.label_forms import read_client_label
from landmark_app.lib.labels.label_layers import read_layers
from landmark_app.lib.labels.reading_process import READING, ReadingProcesses
from landmark_app.lib.store import images
from landmark_app.lib.store.images import check_image_file, check_self_contained

INFO = {"label_info": [{"name": name, "idx": k} for k, name in enumerate(NAMES, start=1)]}
NRRD = "NRRD0005\ntype: uint8\ndimension: 3\nsizes: {size}\nencoding: {encoding}\n"
META = "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = {size}\nElementType = MET_UCHAR\n"
SECRET = b"\1\2\3 a token"


@pytest.fixture
def reading(monkeypatch):
    """A pool of one for the modules that read; its processes end with the test."""
    made = []

    def make(**options):
        one = ReadingProcesses(at_once=1, **options)
        made.append(one)
        monkeypatch.setattr(label_map_form, "READING", one)
        monkeypatch.setattr(images, "READING", one)
        return one

    yield make
    for one in made:
        one.close()


def read(path):
    return read_client_label(
        path, image="case.1", grid=GRID, bundles={"brain": NAMES}, info=INFO, records=()
    ).landmarks.points


def refused(call, status, *words):
    with pytest.raises(ClientError) as caught:
        call()
    assert caught.value.status == status
    assert "\n" not in caught.value.message
    for word in words:
        assert word in caught.value.message, caught.value.message
    return caught.value.message


def test_a_process_reads_what_the_function_reads(reading, tmp_path):
    path = save(tmp_path / "x.nrrd", balls())
    pool = reading()
    here, there = read_layers(path, GRID), pool.read_layers(path, GRID)
    assert here.voxels.keys() == there.voxels.keys() == {(0, 1), (0, 2), (0, 3)}
    for key, flat in here.voxels.items():
        np.testing.assert_array_equal(there.voxels[key], flat)
        np.testing.assert_array_equal(flat, np.flatnonzero(balls() == key[1]))
    np.testing.assert_array_equal(there.grid.affine, here.grid.affine)
    np.testing.assert_allclose(there.grid.affine, AFFINE, atol=1e-9)
    assert there.grid.shape == here.grid.shape == SHAPE
    assert there.names == here.names == {}
    np.testing.assert_allclose(read(path), POINTS, atol=1.0)


def test_the_process_has_no_torch_and_no_monai(tmp_path):
    code = (
        "import sys, landmark_app.lib.labels.reading_worker; print({'torch', 'monai', 'monailabel'} & set(sys.modules))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert printed.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("ending", "head"),
    [
        (".nrrd", "{nrrd}# x\rdata file: {secret}\n\n"),
        (".nrrd", "{nrrd}" + "# comment\n" * 8000 + "data file: {secret}\n\n"),
        (".seg.nrrd", "{nrrd}# x\rdata file: {secret}\n\n"),
        (".seg.nrrd", "{nrrd}" + "# comment\n" * 8000 + "data file: {secret}\n\n"),
        (".mha", "{meta}ElementDataFile = {secret}\nElementDataFile = LOCAL\n"),
        (".mha", "{meta}HeaderSize = 1\nElementDataFile = {secret}\nElementDataFile = LOCAL\n"),
        (".mha", "{meta}ElementDataFile = {pipe}\nElementDataFile = LOCAL\n"),
        (".mha", "{meta}ElementDataFile = /dev/stdin\nElementDataFile = LOCAL\n"),
    ],
)
def test_a_label_never_shows_a_file_of_the_server(ending, head, reading, tmp_path):
    """One byte a request was told: 'has the value 1 without a name'. The tokens file is enough to be admin."""
    reading()
    (tmp_path / "tokens").write_bytes(SECRET)
    os.mkfifo(tmp_path / "pipe")
    folder = tmp_path / "upload"
    folder.mkdir()
    values = {"nrrd": NRRD.format(size="1 1 1", encoding="raw"), "meta": META.format(size="1 1 1")}
    path = folder / f"x{ending}"
    path.write_bytes(head.format(**values, secret=tmp_path / "tokens", pipe=tmp_path / "pipe").encode() + b"\0")
    assert "value" not in refused(lambda: read(path), 400, "cannot be read")
    if ending != ".seg.nrrd":
        refused(lambda: check_image_file(path), 422)


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".seg.nrrd"])
def test_a_header_that_names_a_file_plainly_is_refused_before_it_is_read(ending, tmp_path):
    head, last = (META, "ElementDataFile = a.raw\n") if ending == ".mha" else (NRRD, "data file: a.raw\n\n")
    path = tmp_path / f"x{ending}"
    path.write_text(head.format(size="1 1 1", encoding="raw") + last)
    refused(lambda: check_self_contained(path), 422, "in another file")


def zeros(count):
    one = zlib.compressobj(9, wbits=31)
    return b"".join([*(one.compress(bytes(2**22)) for _ in range(count // 2**22 + 1)), one.flush()])


def test_bombs_are_named_and_cost_the_server_nothing(reading, tmp_path):
    import resource

    pool = reading(most_voxels=2**26)
    small = tmp_path / "a.mha"
    small.write_bytes((META.format(size="1500 1500 1500") + "ElementDataFile = LOCAL\n").encode() + bytes(900))
    bomb = tmp_path / "b.nrrd"
    bomb.write_bytes(NRRD.format(size="700 700 700", encoding="gzip").encode() + b"\n" + zeros(700**3))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in (small, bomb):
        refused(lambda path=path: check_image_file(path), 422, " voxels")
        refused(lambda path=path: read(path), 400, "promises")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024  # KiB
    pool.most_voxels = 2**29
    assert pool.why_unreadable(bomb) is None


def test_a_file_that_needs_too_much_memory_ends_its_process_alone(reading, tmp_path):
    pool = reading(most_voxels=2**20)
    path = save(tmp_path / "x.nrrd", balls())
    assert pool.why_unreadable(path) is None
    (process,) = pool._idle
    pool.most_voxels = 2**31  # the process keeps its limit of a gigabyte and four bytes a voxel
    bomb = tmp_path / "b.nrrd"
    head = NRRD.format(size="1200 1200 1200", encoding="gzip")
    bomb.write_bytes(head.encode() + b"\n" + zeros(1200**3))
    refused(lambda: read(bomb), 400, "memory")
    assert process.poll() is not None
    pool.most_voxels = 2**20
    np.testing.assert_allclose(read(path), POINTS, atol=1.0)


def test_a_process_that_does_not_answer_is_ended(reading, tmp_path, monkeypatch):
    monkeypatch.setattr("landmark_app.lib.labels.reading_process._START_SECONDS", 0.0)
    pool = reading(seconds=30.0)
    path = save(tmp_path / "x.nrrd", balls())
    assert pool.why_unreadable(path) is None
    (process,) = pool._idle
    os.kill(process.pid, signal.SIGSTOP)
    pool.seconds = 0.5
    begin = time.monotonic()
    refused(lambda: check_image_file(path), 422, "too much time")
    assert time.monotonic() - begin < 20
    assert process.poll() is not None
    pool.seconds = 30.0
    assert pool.why_unreadable(path) is None


def test_a_process_that_was_killed_is_replaced(reading, tmp_path):
    pool = reading()
    path = save(tmp_path / "x.nrrd", balls())
    assert pool.why_unreadable(path) is None
    pool._idle[0].kill()
    pool._idle[0].wait()
    assert pool.why_unreadable(path) is None


def test_no_more_files_are_read_at_once_than_are_allowed(reading, tmp_path):
    pool = reading(waiting_seconds=0.2)
    path = save(tmp_path / "x.nrrd", balls())
    pool._turns.acquire()
    refused(lambda: pool.why_unreadable(path), 429, "try again")
    waiting = threading.Timer(0.05, pool._turns.release)
    waiting.start()
    pool.waiting_seconds = 30.0
    assert pool.why_unreadable(path) is None
    waiting.join()
    assert len(pool._idle) == 1


def test_the_processes_of_the_server_are_few():
    assert READING.at_once == 2
    assert READING.most_voxels == 2**29


@pytest.mark.parametrize("value", [-1.0, np.nan, 0.5, 70000.0])
def test_voxels_that_are_no_labels_are_refused(value, tmp_path):
    labels = balls().astype(np.float32)
    labels[0, 0, 0] = value
    with pytest.raises(ValueError, match="whole numbers from 0 to 65535"):
        read_layers(save(tmp_path / "x.nii", labels), GRID)


def test_a_label_with_an_axis_of_no_size_is_refused(reading, tmp_path):
    reading()
    path = tmp_path / "x.nrrd"
    path.write_text(NRRD.format(size="2 0 2", encoding="raw") + "\n")
    refused(lambda: read(path), 400, "at least 1 voxel")


def test_a_list_of_points_without_end_is_refused_unread(tmp_path):
    path = tmp_path / "x.json"
    with path.open("wb") as stream:
        stream.truncate(2**24 + 1)
    refused(lambda: read(path), 413, "16 MB")


def test_a_server_with_more_than_a_thousand_open_files_reads_too(reading, tmp_path):
    """`select.select` takes no file with a number above 1023."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < 2048:
        pytest.skip("this machine allows fewer open files")
    path = save(tmp_path / "label.nii.gz", balls())
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 2048), before[1]))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        assert reading().why_unreadable(path) is None
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
