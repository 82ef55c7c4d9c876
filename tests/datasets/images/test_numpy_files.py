"""Arrays in files: the voxels that numpy wrote, the place that was declared, and one line for what is hostile."""

import io
import json
import pickle
import resource
import struct
import zipfile

import nibabel as nib
import numpy as np
import pytest
from blobs import write_blobs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from toy_bundle import write_toy_bundle, write_toy_image

from auto_config import ArrayImage
from auto_config.bundle_scripts.grid.cache import cache_key
from auto_config.bundle_scripts.images.reading import check_image
from auto_config.cli import main
from auto_config.commands.predict import predict
from auto_config.datasets import read_dataset
from auto_config.datasets.conversion import convert_dataset
from auto_config.datasets.images import read_header, read_image
from auto_config.errors import UserError

OBLIQUE = np.array([[0, 0.5, 0, 3], [-0.5, 0, 0, 1], [0, 0, 2, 7], [0, 0, 0, 1.0]])
VOXELS = np.arange(24.0).reshape(2, 3, 4)


def write(path, array, compressed=False, **place):
    if path.suffix == ".npz":
        (np.savez_compressed if compressed else np.savez)(path, image=array, **place)
        return path
    np.save(path, array)
    if place:
        text = json.dumps({name: np.asarray(value).tolist() for name, value in place.items()})
        path.with_name(path.name + ".json").write_text(text)
    return path


TYPES = ("u1", "<i2", ">i2", "<f2", ">f4", "<f8", "?", "<u4")


@st.composite
def images(draw):
    """Numbers of any type and order of bytes, (x, y, z) or (channel, x, y, z)."""
    dtype = draw(st.sampled_from(TYPES))
    shape = draw(st.tuples(*[st.integers(1, 4)] * draw(st.integers(3, 4))))
    return draw(arrays(dtype, shape, elements={"allow_nan": False} if "f" in dtype else None))


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(images(), st.booleans(), st.sampled_from(["a.npy", "a.npz", "b.npz"]), st.tuples(*[st.floats(0.1, 9)] * 3))
def test_files_give_what_the_array_in_memory_gives(tmp_path, array, fortran, name, spacing):
    stored = np.asfortranarray(array) if fortran else array
    path = write(tmp_path / name, stored, compressed=name == "b.npz", spacing=spacing)
    with np.errstate(over="ignore"):
        expected = ArrayImage(array, spacing=spacing).image()
    header = read_header(path)
    if 1 in expected.array.shape[1:]:  # a single slice, which is a picture
        return
    found = read_image(path)
    np.testing.assert_array_equal(found.array, expected.array)
    np.testing.assert_array_equal(found.affine, expected.affine)
    assert (header.shape, header.channels) == (expected.array.shape[1:], len(expected.array))
    assert (header.unit, header.oriented) == ("mm", False)
    check_image(path)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_an_affine_is_taken_as_it_is(name, tmp_path):
    found = read_image(write(tmp_path / name, VOXELS, affine=OBLIQUE))
    np.testing.assert_array_equal(found.affine, OBLIQUE)
    assert found.header.oriented


def test_the_only_array_of_an_archive_is_its_image(tmp_path):
    np.savez(tmp_path / "a.npz", VOXELS, spacing=(1, 2, 3))
    np.testing.assert_array_equal(read_image(tmp_path / "a.npz").array[0], VOXELS)
    np.savez(tmp_path / "b.npz", image=VOXELS, mask=VOXELS, spacing=2.0)
    assert read_header(tmp_path / "b.npz").spacing == (2, 2, 2)
    np.savez(tmp_path / "c.npz", scan=VOXELS, mask=VOXELS, spacing=2.0)
    with pytest.raises(UserError, match=r"c\.npz: .*array 'image', or the only one; it has 'scan', 'mask'"):
        read_header(tmp_path / "c.npz")


def test_pictures_lie_as_their_pixels_are(tmp_path):
    picture = VOXELS[0]
    plain = read_image(write(tmp_path / "a.npy", picture))
    assert (plain.header.unit, plain.header.shape) == ("px", (3, 4))
    np.testing.assert_array_equal(plain.array[0], picture)
    assert read_header(tmp_path / "a.npy", (0.1, 0.2)).spacing == (0.1, 0.2)
    sized = read_header(write(tmp_path / "b.npz", picture, spacing=(0.3, 0.4)))
    assert (sized.unit, sized.spacing) == ("mm", (0.3, 0.4))
    assert read_header(write(tmp_path / "c.npz", VOXELS, spacing=(0.3, 0.4))).channels == 2
    with pytest.raises(UserError, match="moves or turns a picture"):
        read_header(write(tmp_path / "d.npz", picture, affine=[[1, 0, 5], [0, 1, 0], [0, 0, 1]]))


@pytest.mark.parametrize(
    ("name", "array", "place", "said"),
    [
        ("a.npy", VOXELS, {}, r"2 x 3 x 4 and nothing says its spacing; put a\.npy\.json beside it"),
        ("a.npz", VOXELS, {}, "nothing says its spacing; save it with np.savez"),
        ("a.npz", VOXELS, {"spacing": 1.0, "affine": OBLIQUE}, "both spacing and affine"),
        ("a.npy", VOXELS, {"spacings": 1.0}, "no object with the key spacing or affine"),
        ("a.npy", VOXELS, {"spacing": [1, 0, 1]}, "no 2 or 3 mm above 0"),
        ("a.npz", VOXELS, {"spacing": [1, np.nan, 1]}, "no 2 or 3 mm above 0"),
        ("a.npz", VOXELS, {"spacing": np.zeros((400, 400))}, r"spacing or affine has the shape \(400, 400\)"),
        ("a.npz", VOXELS, {"spacing": ["1", "1", "1"]}, "its array holds <U1"),
        ("a.npz", VOXELS, {"affine": np.zeros((4, 4))}, "last row"),
        ("a.npz", VOXELS, {"affine": np.diag([1.0, 0, 1, 1])}, "singular"),
        ("a.npz", np.zeros((2, 2, 2, 2, 2)), {"spacing": 1.0}, "does not fit a spacing or affine of 3 axes"),
        ("a.npz", VOXELS.astype(complex), {"spacing": 1.0}, "its array holds complex128"),
        ("a.npz", np.zeros(3, dtype=[("x", "f4")]), {"spacing": 1.0}, "its array holds"),
        ("a.npy", np.array(5.0), {}, r"shape \(\)"),
        ("a.npy", np.zeros((0, 3)), {}, "each axis needs at least 1 voxel"),
    ],
)
def test_what_cannot_be_placed_is_said_in_one_line(name, array, place, said, tmp_path):
    with pytest.raises(UserError, match=said) as caught:
        read_image(write(tmp_path / name, array, **place))
    assert "\n" not in str(caught.value) and name in str(caught.value)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a pickle was opened",)


def header(text, version=1):
    text = text.encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text


def described(shape, descr="'<f4'", fortran=False):
    return header(f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}")


def archive(members, **options):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return stream.getvalue()


def pickled():
    stream = io.BytesIO()
    np.save(stream, np.array([Bomb()], dtype=object), allow_pickle=True)
    return stream.getvalue()


SPACING = described("(3,)", "'<f8'") + np.ones(3).tobytes()
HOSTILE = {
    "objects": ("a.npy", pickled, "its array holds object"),
    "objects in an archive": ("a.npz", lambda: archive({"image.npy": pickled()}), "its array holds object"),
    "a pickle alone": ("a.npy", lambda: pickle.dumps(Bomb()), "no header of numpy"),
    "huge": ("a.npy", lambda: described("(99999, 99999)") + bytes(99), "are read at most"),
    "more than there is": ("a.npy", lambda: described("(9999, 9999)") + bytes(99), "the file has 99 bytes"),
    "beyond all numbers": ("a.npy", lambda: described(f"({10**40}, 2)") + bytes(99), "are read at most"),
    "negative": ("a.npy", lambda: described("(-4, 4)") + bytes(99), "at least 1 voxel"),
    "thousands of axes": ("a.npy", lambda: described("(" + "1," * 1500 + ")"), "array of shape 1 x 1"),
    "deep header": ("a.npy", lambda: header("(" * 3000), "no header of numpy"),
    "long header": ("a.npy", lambda: header(" " * 60000), "no header of numpy"),
    "long header of version 2": ("a.npy", lambda: header(" " * 9999, 2), "no header of numpy"),
    "code for a header": ("a.npy", lambda: header("__import__('os').system('true')"), "no header of numpy"),
    "no archive": ("a.npz", lambda: b"PK\3\4" + bytes(99), "no archive of arrays"),
    "empty archive": ("a.npz", lambda: archive({}), "it has none"),
    "bomb": (
        "a.npz",
        lambda: archive({"image.npy": described("(999, 999, 999)") + bytes(9**8)}, compression=zipfile.ZIP_DEFLATED),
        "another length than its header promises",
    ),
    "bomb of a spacing": (
        "a.npz",
        lambda: archive(
            {"image.npy": described("(3,)") + bytes(12), "spacing.npy": described("(3000, 3000)") + bytes(4 * 3000**2)},
            compression=zipfile.ZIP_DEFLATED,
        ),
        r"shape \(3000, 3000\)",
    ),
    "promises": (
        "a.npz",
        lambda: archive({"image.npy": described("(1500, 1500, 1500)"), "spacing.npy": SPACING}),
        "another length than its header promises",
    ),
    "lzma": (
        "a.npz",
        lambda: archive({"image.npy": described("(3,)")}, compression=zipfile.ZIP_LZMA),
        "compressed in another way",
    ),
    "many members": (
        "a.npz",
        lambda: archive({f"{number:0200d}": b"" for number in range(6000)}),
        "longer than an archive of some arrays",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_arrays_take_no_memory_and_run_nothing(name, tmp_path):
    ending, content, said = HOSTILE[name]
    (tmp_path / ending).write_bytes(content())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (read_header, read_image):
        with pytest.raises(UserError, match=said) as caught:
            read(tmp_path / ending)
        assert "\n" not in str(caught.value) and ending in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024  # KiB


def test_a_damaged_part_of_an_archive_is_named(tmp_path):
    path = write(tmp_path / "a.npz", np.random.default_rng(1).normal(size=(9, 9, 9)), spacing=1.0)
    content = bytearray(path.read_bytes())
    content[1000] ^= 255
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.npz: .*damaged"):
        read_image(path)


def test_a_changed_spacing_is_another_image_for_the_cache(tmp_path):
    path = write(tmp_path / "a.npy", VOXELS, spacing=(1, 1, 1))
    first = cache_key(str(path), None, ["image"], "")
    write(path, VOXELS, spacing=(1, 1, 1.5))
    assert cache_key(str(path), None, ["image"], "") != first


@pytest.mark.parametrize("ending", [".npy", ".npz"])
@pytest.mark.parametrize("layout", ["beside", "folders"])
def test_a_data_set_of_arrays_is_that_of_its_volumes(ending, layout, tmp_path):
    write_blobs(tmp_path / "set", cases=3)
    expected = read_dataset(tmp_path / "set")[0]
    images = tmp_path / "set" / "images"
    for volume in sorted(images.iterdir()):
        image = nib.load(volume)
        write(images / volume.name.replace(".nii.gz", ending), image.get_fdata(dtype=np.float32), affine=image.affine)
        volume.unlink()
    if layout == "beside":
        for path in (tmp_path / "set" / "landmarks").iterdir():
            path.rename(images / path.name)
        (tmp_path / "set" / "landmarks").rmdir()
    dataset, problems = read_dataset(tmp_path / "set")
    assert problems == []
    assert [case.landmarks for case in dataset.cases] == [case.landmarks for case in expected.cases]
    assert main(["inspect", str(tmp_path / "set"), "--workers", "1"]) == 0
    # Links and copies take the spacing along.
    convert_dataset(tmp_path / "set", tmp_path / "copy", to="json", images="copy")
    copied, problems = read_dataset(tmp_path / "copy")
    assert problems == []
    for one, other in zip(copied.cases, dataset.cases, strict=True):
        np.testing.assert_array_equal(read_image(one.image[0]).affine, read_image(other.image[0]).affine)


def test_arrays_beside_other_images_are_no_images(tmp_path):
    write_blobs(tmp_path / "set", cases=2)
    np.save(tmp_path / "set" / "images" / "plain0.npy", VOXELS)
    np.save(tmp_path / "set" / "images" / "plain0_mask.npy", VOXELS)
    dataset, problems = read_dataset(tmp_path / "set")
    assert (len(dataset.cases), problems) == (2, [])
    (tmp_path / "set" / "images" / "plain0.nii.gz").unlink()
    (problem,) = read_dataset(tmp_path / "set")[1]
    assert "plain0.npy: is an array beside images of other formats; save it as they are" in problem.message


@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_a_bundle_predicts_arrays(ending, tmp_path):
    bundle = write_toy_bundle(tmp_path / "toy")
    for case, affine in (("a", OBLIQUE), ("b", np.diag([-1.0, 2, 1, 1]))):
        write_toy_image(tmp_path / f"volumes/{case}.nii.gz", [(2, 3, 4), (9, 1, 6)], affine)
        image = nib.load(tmp_path / f"volumes/{case}.nii.gz")
        (tmp_path / "arrays").mkdir(exist_ok=True)
        write(tmp_path / f"arrays/{case}{ending}", image.get_fdata(dtype=np.float32), affine=image.affine)
    for kind in ("volumes", "arrays"):
        assert predict(bundle, tmp_path / kind, tmp_path / f"{kind}_out") == 0
    for case in ("a.mrk.json", "b.mrk.json"):
        assert (tmp_path / "volumes_out" / case).read_text() == (tmp_path / "arrays_out" / case).read_text()
