"""Files made to harm who reads them: to show another file, to block, to take all memory. Each is one clear error."""

import bz2
import gzip
import os
import resource
import struct
import subprocess
import sys
import zlib

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow

from auto_config.bundle_scripts.files.regular import open_regular
from auto_config.bundle_scripts.images.reading import check_image
from auto_config.bundle_scripts.images.stored_voxels import GZIP, StoredVoxels, read_voxels
from auto_config.bundle_scripts.points.landmark_text import read_text
from auto_config.bundle_scripts.points.landmarks import LandmarkFileError
from auto_config.datasets.images import read_header, read_image
from auto_config.errors import UserError

SECRET = b"token of the admin"
META = "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = {size}\nElementType = MET_UCHAR\n"
NRRD = "NRRD0005\ntype: uint8\ndimension: 3\nsizes: {size}\nencoding: {encoding}\n"
ONE = "1 1 1"


@pytest.fixture
def secret(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "tokens").write_bytes(SECRET)
    return folder / "tokens"


def sent(tmp_path, name, content):
    folder = tmp_path / "sent"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path, *words):
    for read in (read_header, read_image):
        with pytest.raises(UserError) as caught:
            read(path)
        message = str(caught.value)
        assert path.name in message and "\n" not in message and len(message) < 500
        for word in words:
            assert word in message, message
    return message


def nrrd(*lines, size=ONE, encoding="raw"):
    return NRRD.format(size=size, encoding=encoding) + "".join(f"{line}\n" for line in lines) + "\n"


# ---------------------------------------------------------------- A: the content of another file


HIDDEN = {
    "plain": (".nrrd", "{nrrd}data file: {secret}\n\n"),
    "lone carriage return": (".nrrd", "{nrrd}# x\rdata file: {secret}\n\n"),
    "much before": (".nrrd", "{nrrd}" + "# comment\n" * 8000 + "data file: {secret}\n\n"),
    "one long comment": (".nrrd", "{nrrd}#" + "x" * 70000 + "\ndata file: {secret}\n\n"),
    "twice": (".nrrd", "{nrrd}data file: a.raw\ndata file: {secret}\n\n"),
    "other spelling": (".nrrd", "{nrrd}DataFile: {secret}\n\n"),
    "skip": (".nrrd", "{nrrd}byte skip: 3\ndata file: {secret}\n\n"),
    "list": (".nrrd", "{nrrd}data file: LIST\n{secret}\n\n"),
    "detached, absolute": (".nhdr", "{nrrd}data file: {secret}\n\n"),
    "detached, above": (".nhdr", "{nrrd}data file: ../server/tokens\n\n"),
    "detached, list": (".nhdr", "{nrrd}data file: LIST\n{secret}\n\n"),
    "detached, pattern": (".nhdr", "{nrrd}data file: tokens%d 0 1 1\n\n"),
    "detached, link": (".nhdr", "{nrrd}data file: link.raw\n\n"),
    "meta": (".mha", "{meta}ElementDataFile = {secret}\n"),
    "meta, two lines": (".mha", "{meta}ElementDataFile = {secret}\nElementDataFile = LOCAL\n"),
    "meta, skip": (".mha", "{meta}HeaderSize = 3\nElementDataFile = {secret}\nElementDataFile = LOCAL\n"),
    "meta, lone carriage return": (".mha", "{meta}Comment = x\rElementDataFile = {secret}\rElementDataFile = LOCAL\n"),
    "meta, list": (".mha", "{meta}ElementDataFile = LIST\n{secret}\n"),
    "meta, pattern": (".mhd", "{meta}ElementDataFile = tokens%d 0 1 1\n"),
    "meta, absolute": (".mhd", "{meta}ElementDataFile = {secret}\n"),
    "meta, above": (".mhd", "{meta}ElementDataFile = ../server/tokens\n"),
    "meta, link": (".mhd", "{meta}ElementDataFile = link.raw\n"),
}


@pytest.mark.parametrize("attack", HIDDEN)
def test_no_header_shows_another_file(attack, tmp_path, secret):
    ending, text = HIDDEN[attack]
    values = {"nrrd": NRRD.format(size=ONE, encoding="raw"), "meta": META.format(size=ONE), "secret": secret}
    path = sent(tmp_path, f"label{ending}", text.format(**values) + "\0")
    (path.parent / "link.raw").symlink_to(secret)
    refused(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.nrrd", nrrd("sizes: 1 1 1") + "\0"),
        ("a.nrrd", nrrd("byte skip: 0", "byteskip: 0") + "\0"),  # two spellings of one field
        ("a.mha", META.format(size=ONE) + "DimSize = 1 1 1\nElementDataFile = LOCAL\n\0"),
        ("a.mha", META.format(size=ONE) + "Offset = 0 0 0\nPosition = 5 5 5\nElementDataFile = LOCAL\n\0"),
    ],
)
def test_a_field_that_stands_twice_is_refused(name, content, tmp_path):
    """Two readers could take one of them each."""
    refused(sent(tmp_path, name, content), "twice")


@pytest.mark.parametrize("encoding", ["nrrd", "mha"])
def test_a_file_that_begins_like_a_link_out_of_its_folder_is_read_where_it_stays(encoding, tmp_path):
    """A link to a file of the same folder is as good as the file."""
    name, text = {
        "nrrd": ("a.nhdr", NRRD.format(size="1 2 3", encoding="raw") + "data file: a.raw\n\n"),
        "mha": ("a.mhd", META.format(size="1 2 3") + "ElementDataFile = a.raw\n"),
    }[encoding]
    path = sent(tmp_path, name, text)
    (path.parent / "b.raw").write_bytes(bytes(range(6)))
    (path.parent / "a.raw").symlink_to("b.raw")
    np.testing.assert_array_equal(read_image(path).array.ravel(order="F"), range(6))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.nrrd", nrrd(size="1000 1000 1000") + "\0"),
        ("a.nrrd", nrrd(size="1000 1000 1000", encoding="gzip").encode() + gzip.compress(b"\0" * 1000)),
        ("a.nrrd", nrrd(size="1000 1000 1000", encoding="hex") + "00"),
        ("a.nrrd", nrrd(size="1000 1000 1000", encoding="ascii") + "0 0"),
        ("a.mha", META.format(size="1000 1000 1000") + "ElementDataFile = LOCAL\n\0"),
    ],
)
def test_what_no_file_of_this_length_can_hold_is_refused_by_its_length(name, content, tmp_path):
    """The header alone says so, before there is an array of a thousand million voxels."""
    refused(sent(tmp_path, name, content), "its header promises 1000 x 1000 x 1000 voxels", "bytes for them")


def test_the_pair_of_an_analyze_header_stays_in_its_folder(tmp_path, secret):
    image = nib.Nifti1Pair(np.zeros((2, 3, 2), np.uint8), np.eye(4))
    (tmp_path / "sent").mkdir()
    nib.save(image, tmp_path / "sent" / "a.hdr")
    assert read_header(tmp_path / "sent" / "a.hdr").shape == (2, 3, 2)
    (tmp_path / "sent" / "a.img").unlink()
    (tmp_path / "sent" / "a.img").symlink_to(secret)
    refused(tmp_path / "sent" / "a.hdr", "link that leaves its folder")


def test_a_picture_of_a_format_that_starts_programs_is_no_picture(tmp_path):
    eps = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(/etc/passwd) run\nshowpage\n"
    refused(sent(tmp_path, "a.png", eps), "cannot be read")


# ---------------------------------------------------------------- A2: what never ends


def in_time(code, *arguments, limit=10):
    """Run code in a process of its own; what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-1000:]
    return done.stdout


READS = """
import sys, signal
signal.alarm(30)
from pathlib import Path
from auto_config.datasets.images import read_image
from auto_config.errors import UserError
try:
    read_image(Path(sys.argv[1]))
except UserError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("ending", [".mha", ".mhd", ".nrrd", ".nhdr"])
@pytest.mark.parametrize("where", ["beside", "absolute", "/dev/stdin", "/dev/zero"])
def test_a_header_that_names_a_pipe_blocks_nobody(ending, where, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    name = {"beside": "pipe", "absolute": tmp_path / "pipe"}.get(where, where)
    last = f"ElementDataFile = {name}\n" if ending.startswith(".m") else f"data file: {name}\n\n"
    head = META.format(size=ONE) if ending.startswith(".m") else NRRD.format(size=ONE, encoding="raw")
    (tmp_path / f"a{ending}").write_text(head + last)
    assert "cannot be read" in in_time(READS, tmp_path / f"a{ending}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("ending", [".mha", ".nrrd", ".nii", ".nii.gz", ".png", ".dcm"])
def test_a_pipe_with_the_name_of_an_image_blocks_nobody(ending, tmp_path):
    os.mkfifo(tmp_path / f"a{ending}")
    assert f"a{ending}: image file not found" in in_time(READS, tmp_path / f"a{ending}")
    with pytest.raises(ValueError, match="no regular file"):
        open_regular(tmp_path / f"a{ending}")


# ---------------------------------------------------------------- B: more than it holds


BOMBS = {
    "mha": (".mha", lambda: (META.format(size="1500 1500 1500") + "ElementDataFile = LOCAL\n").encode() + bytes(900)),
    "mha, compressed": (
        ".mha",
        lambda: (META.format(size="1500 1500 1500") + "CompressedData = True\nElementDataFile = LOCAL\n").encode()
        + zlib.compress(bytes(2**20)),
    ),
    "mha, channels": (
        ".mha",
        (META.format(size=ONE) + "ElementNumberOfChannels = 9999999999\nElementDataFile = LOCAL\n").encode,
    ),
    "nrrd": (".nrrd", lambda: nrrd(size="1500 1500 1500").encode() + bytes(900)),
    "nrrd, skip": (".nrrd", lambda: nrrd("byte skip: -1", size="1500 1500 1500").encode() + bytes(900)),
    "nrrd, gzip": (".nrrd", lambda: nrrd(size="1500 1500 1500", encoding="gzip").encode() + gzip.compress(bytes(9**7))),
    "nrrd, bzip2": (".nrrd", lambda: nrrd(size="1200 1200 1200", encoding="bz2").encode() + bz2.compress(bytes(9**7))),
    "nrrd, text": (".nrrd", lambda: nrrd(size="1500 1500 1500", encoding="text").encode() + b"1 2 3"),
    "nrrd, sizes beyond all numbers": (".nrrd", lambda: nrrd(size="9999999999999 9999999999999 99").encode()),
    "nifti": (".nii", lambda: promising((1500, 1500, 1500))),
    "nifti, gzip": (".nii.gz", lambda: gzip.compress(promising((1500, 1500, 1500)))),
    "nifti, many axes": (".nii", lambda: promising((30000, 30000, 30000, 30000, 3000, 3000, 3000))),
    "nifti, far begin": (".nii.gz", lambda: gzip.compress(promising((2, 2, 2), vox_offset=3e9))),
    "bmp": (".bmp", lambda: b"BM" + struct.pack("<IIIIiiHH6I", 900, 0, 54, 40, 40000, 40000, 1, 8, *[0] * 6)),
    "png": (".png", lambda: png(40000, 40000)),
}  # fmt: skip


def promising(shape, vox_offset=352.0, extension=0):
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float32)
    header["dim"][: len(shape) + 1] = [len(shape), *shape]
    header["vox_offset"] = vox_offset
    header.set_sform(np.eye(4), 1)
    header["magic"] = b"n+1"
    return header.binaryblock + (struct.pack("<4BII", 1, 0, 0, 0, extension, 4) if extension else bytes(4)) + bytes(900)


def png(width, height):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(900))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_header_that_promises_more_than_there_is_takes_no_memory(bomb, tmp_path):
    ending, content = BOMBS[bomb]
    path = sent(tmp_path, f"a{ending}", content())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if "bzip2" in bomb:  # which may become any number of bytes, so that only reading tells
        with pytest.raises(UserError, match="bytes early"):
            read_image(path)
    else:
        refused(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024  # KiB


def test_the_extensions_of_a_nifti_are_passed_over_whatever_their_length(tmp_path):
    path = sent(tmp_path, "a.nii.gz", gzip.compress(promising((2, 2, 2), vox_offset=368, extension=2**31 - 16)))
    assert (read_image(path).array == 0).all()


CHECKS = """
import resource, sys
from pathlib import Path
from auto_config.bundle_scripts.images.header import ImageFileError
from auto_config.bundle_scripts.images.reading import check_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    check_image(Path(sys.argv[1]), int(sys.argv[2]))
except ImageFileError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def deflated_zeros(count):
    """A gzip stream of `count` zeros, made without them."""
    one = zlib.compressobj(9, wbits=31)
    block = bytes(2**22)
    return b"".join([*(one.compress(block) for _ in range(count // len(block) + 1)), one.flush()])


@pytest.mark.parametrize(("most", "said"), [(2**31, ""), (2**26, "67108864 are allowed")])
def test_a_gzip_of_700_cubed_is_checked_in_small_memory(most, said, tmp_path):
    """It holds what it promises, in a third of a megabyte; a block is in memory at a time."""
    path = sent(tmp_path, "a.nrrd", nrrd(size="700 700 700", encoding="gzip").encode() + deflated_zeros(700**3))
    assert path.stat().st_size < 2_000_000
    printed = in_time(CHECKS, path, most)
    assert said in printed
    assert int(printed.split()[-1]) < 100  # MiB


def test_decompression_ends_with_what_was_promised(tmp_path):
    path = sent(tmp_path, "a.gz", deflated_zeros(2**28))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stored = StoredVoxels(path, 0, GZIP, np.dtype("u1"), (10, 10))
    assert read_voxels(stored).shape == (10, 10)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_a_gzip_of_several_parts_is_read_whole_and_a_damaged_one_is_named(tmp_path):
    content = bytes(range(100)) * 10
    parts = gzip.compress(content[:300]) + gzip.compress(content[300:]) + bytes(7)
    path = sent(tmp_path, "a.nrrd", nrrd(size="10 10 10", encoding="gzip").encode() + parts)
    np.testing.assert_array_equal(read_image(path).array.ravel(order="F"), np.frombuffer(content, np.uint8))
    path.write_bytes(path.read_bytes()[:-25])
    with pytest.raises(UserError, match=r"ends .* bytes early"):
        read_image(path)
    path.write_bytes(nrrd(size="10 10 10", encoding="gzip").encode() + b"no gzip at all" * 9)
    with pytest.raises(UserError, match="damaged"):
        read_image(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_in_place_of_landmarks_blocks_nobody(tmp_path):
    os.mkfifo(tmp_path / "a.mrk.json")
    with pytest.raises(LandmarkFileError, match="no regular file"):
        read_text(tmp_path / "a.mrk.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_among_the_slices_of_a_series_blocks_nobody(tmp_path):
    from image_examples import IMAGES

    IMAGES["dicom_series"](tmp_path)
    os.mkfifo(tmp_path / "series" / "9.dcm")
    assert "no regular file" in in_time(READS, tmp_path / "series")


def test_a_tiff_that_chains_pages_without_end_is_refused_at_the_second(tmp_path):
    path = tmp_path / "a.tif"
    Pillow.fromarray(np.zeros((4, 5), np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, first)
    copy = content[first : first + 2 + 12 * count]
    struct.pack_into("<I", content, first + 2 + 12 * count, len(content))
    for _ in range(20_000):
        content += copy + struct.pack("<I", len(content) + len(copy) + 4)
    path.write_bytes(content)
    refused(path, "several pages")


# ---------------------------------------------------------------- F: no image


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("form", ["nii", "nrrd", "mha"])
def test_an_axis_of_no_size_is_refused(axis, form, tmp_path):
    sizes = [2, 3, 4]
    sizes[axis] = 0
    shown = " ".join(map(str, sizes))
    content = {
        "nii": lambda: promising(sizes),
        "nrrd": lambda: nrrd(size=shown),
        "mha": lambda: META.format(size=shown) + "ElementDataFile = LOCAL\n",
    }[form]()
    refused(sent(tmp_path, f"a.{form}", content), "at least 1 voxel")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.mha", META.format(size=ONE) + "ElementSpacing = 0 0 0\nElementDataFile = LOCAL\n\0", "singular"),
        ("a.mha", META.format(size=ONE) + "ElementSpacing = 1 nan 1\nElementDataFile = LOCAL\n\0", "not finite"),
        ("a.mha", META.format(size=ONE) + "TransformMatrix = 1 0 0 1 0 0 0 0 1\nElementDataFile = LOCAL\n\0", "sing"),
        ("a.mha", META.format(size=ONE) + "Offset = 1 inf 1\nElementDataFile = LOCAL\n\0", "not finite"),
        ("a.nrrd", nrrd("space: LPS", "space directions: (0,0,0) (0,0,0) (0,0,0)") + "\0", "singular"),
        ("a.nrrd", nrrd("space: LPS", "space directions: (1,0,0) (nan,0,0) (0,0,1)") + "\0", "not finite"),
        ("a.nrrd", nrrd("spacings: 1 0 1") + "\0", "singular"),
    ],
)
def test_an_affine_that_gives_no_place_is_refused(name, content, reason, tmp_path):
    refused(sent(tmp_path, name, content), reason, "repair the header")


def test_complex_voxels_are_refused(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((2, 3, 4), np.complex64), np.eye(4)), tmp_path / "a.nii.gz")
    refused(tmp_path / "a.nii.gz", "complex numbers")
    text = "NRRD0005\ntype: float\nendian: little\ndimension: 4\nsizes: 2 1 1 1\nkinds: complex space space space\n"
    refused(sent(tmp_path, "a.nrrd", (text + "encoding: raw\n\n").encode() + bytes(8)), "complex")


def test_an_image_with_more_voxels_than_are_allowed_is_named(tmp_path):
    path = sent(tmp_path, "a.nrrd", nrrd(size="10 10 10").encode() + bytes(1000))
    check_image(path, 1000)
    with pytest.raises(ValueError, match=r"a\.nrrd: has 1000 voxels, 999 are allowed"):
        check_image(path, 999)
