"""Our parsers of NRRD and MetaImage against ITK: the same voxels at the same places, in every form that ITK reads."""

import gzip
import itertools
import zlib

import itk
import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from auto_config.bundle_scripts.images.volumes import open_volume
from auto_config.datasets.checks.cases import check_header
from auto_config.datasets.images import read_image

# ITK's Python reads no signed bytes.
NRRD_TYPES = {"uint8": "u1", "short": "i2", "unsigned short": "u2", "int": "i4", "float": "f4"} | {
    "double": "f8",
    "uint": "u4",
}
META_TYPES = {
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
SPACES = ("left-posterior-superior", "LPS", "right-anterior-superior", "RAS", "left-anterior-superior", "scanner-xyz")
NUMBER = st.floats(-100, 100).map(lambda value: round(value, 4))
LENGTH = st.floats(0.01, 50).map(lambda value: round(value, 4))
MANY = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def by_itk(path):
    """Voxels (C, *size) float32 and affine of RAS mm, as this package read them with ITK alone."""
    image_io = itk.ImageIOFactory.CreateImageIO(str(path), itk.CommonEnums.IOFileMode_ReadMode)
    image_io.SetFileName(str(path))
    image_io.ReadImageInformation()
    dims = int(image_io.GetNumberOfDimensions())
    directions = np.array([image_io.GetDirection(axis) for axis in range(dims)])
    spacing = np.array([image_io.GetSpacing(axis) for axis in range(dims)])
    affine = np.eye(dims + 1)
    affine[:-1, :-1] = (directions * spacing[:, None]).T
    affine[:-1, -1] = [image_io.GetOrigin(axis) for axis in range(dims)]
    affine[:2] *= -1.0
    image = itk.imread(str(path))
    array = np.asarray(itk.array_view_from_image(image))
    array = array if image.GetNumberOfComponentsPerPixel() > 1 else array[..., None]
    return np.array(array.T, dtype=np.float32), affine


def check_same(path):
    volume = open_volume(path)
    voxels, affine = by_itk(path)
    np.testing.assert_array_equal(volume.array(), voxels)
    np.testing.assert_allclose(volume.header.affine, affine, rtol=1e-12, atol=1e-12)
    assert volume.header.shape == voxels.shape[1:]
    assert volume.header.channels == len(voxels)


@st.composite
def voxels_of(draw, types):
    name = draw(st.sampled_from(sorted(types)))
    dtype = np.dtype(types[name])
    shape = draw(st.tuples(*[st.integers(1, 4)] * draw(st.sampled_from([2, 3]))))
    elements = st.integers(0, 100) if dtype.kind in "iu" else st.floats(-1e6, 1e6, width=32)
    return name, draw(arrays(dtype, shape, elements=elements)), draw(st.sampled_from("<>"))


def vector(values):
    return "(" + ",".join(map(repr, values)) + ")"


@MANY
@given(data=st.data(), voxels=voxels_of(NRRD_TYPES), encoding=st.sampled_from(["raw", "gzip", "ascii", "hex"]))
def test_nrrd(data, voxels, encoding, tmp_path):
    kind, array, order = voxels
    dims = array.ndim
    lines = ["NRRD0004", f"type: {kind}", f"dimension: {dims}", f"sizes: {' '.join(map(str, array.shape))}"]
    lines += [f"endian: {'little' if order == '<' else 'big'}", f"encoding: {encoding}"]
    numbers = st.lists(NUMBER, min_size=dims, max_size=dims)
    form = data.draw(st.sampled_from(["bare", "spacings", "mins", "directions"]))
    if form in ("spacings", "mins"):
        lines.append("spacings: " + " ".join(map(repr, data.draw(st.lists(LENGTH, min_size=dims, max_size=dims)))))
    if form == "mins":
        lines.append("axis mins: " + " ".join(map(repr, data.draw(numbers))))
        lines.append("centers: " + " ".join([data.draw(st.sampled_from(["cell", "node"]))] * dims))
    if form == "directions":
        turned = data.draw(st.permutations(range(dims)))
        lengths = data.draw(st.lists(LENGTH, min_size=dims, max_size=dims))
        matrix = (np.diag(lengths) * data.draw(st.sampled_from([1, -1])))[list(turned)]
        matrix[0] += 0.25 * matrix[1]
        lines.append("space dimension: 2" if dims == 2 else f"space: {data.draw(st.sampled_from(SPACES))}")
        lines.append("space directions: " + " ".join(vector(row) for row in matrix.tolist()))
        lines.append("space origin: " + vector(data.draw(numbers)))
    if data.draw(st.booleans()):
        lines += ["# a comment", "kinds: " + " ".join(["domain"] * dims), "key:=value with : and ="]
    stored = array.astype(array.dtype.newbyteorder(order)).tobytes(order="F")
    content = {
        "raw": lambda: stored,
        "gzip": lambda: gzip.compress(stored),
        "hex": lambda: stored.hex().encode(),
        "ascii": lambda: " ".join(map(repr, array.ravel(order="F").tolist())).encode(),
    }[encoding]()
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    path = tmp_path / "a.nrrd"
    path.write_bytes((end.join(lines) + end * 2).encode() + content)
    check_same(path)


@MANY
@given(data=st.data(), voxels=voxels_of(META_TYPES), compressed=st.booleans())
def test_metaimage(data, voxels, compressed, tmp_path):
    kind, array, order = voxels
    dims = array.ndim
    lines = ["ObjectType = Image", f"NDims = {dims}", "BinaryData = True", f"CompressedData = {compressed}"]
    key = data.draw(st.sampled_from(["ElementByteOrderMSB", "BinaryDataByteOrderMSB"]))
    lines += [f"{key} = {order == '>'}", f"DimSize = {' '.join(map(str, array.shape))}", f"ElementType = {kind}"]
    lengths = data.draw(st.lists(LENGTH, min_size=dims, max_size=dims))
    if data.draw(st.booleans()):
        name = data.draw(st.sampled_from(["ElementSpacing", "ElementSize"]))
        lines.append(f"{name} = {' '.join(map(repr, lengths))}")
    if data.draw(st.booleans()):
        turned = np.eye(dims)[list(data.draw(st.permutations(range(dims))))]
        name = data.draw(st.sampled_from(["TransformMatrix", "Rotation", "Orientation"]))
        lines.append(f"{name} = {' '.join(map(repr, turned.ravel().tolist()))}")
    if data.draw(st.booleans()):
        name = data.draw(st.sampled_from(["Offset", "Position", "Origin"]))
        lines.append(f"{name} = {' '.join(map(repr, data.draw(st.lists(NUMBER, min_size=dims, max_size=dims))))}")
    if data.draw(st.booleans()):
        lines += ["AnatomicalOrientation = RAI", "DistanceUnits = cm", "0008|0005 = ISO_IR 100"]
    stored = array.astype(array.dtype.newbyteorder(order)).tobytes(order="F")
    content = zlib.compress(stored) if compressed else stored
    if compressed:
        lines.append(f"CompressedDataSize = {len(content)}")
    path = tmp_path / "a.mha"
    path.write_bytes(("\n".join([*lines, "ElementDataFile = LOCAL"]) + "\n").encode() + content)
    check_same(path)


@pytest.mark.parametrize(("ending", "compressed"), list(itertools.product([".nrrd", ".nhdr", ".mha", ".mhd"], [0, 1])))
@pytest.mark.parametrize("channels", [1, 3])
def test_what_itk_writes_is_read(ending, compressed, channels, tmp_path):
    array = np.arange(60 * channels, dtype=np.float32).reshape(3, 4, 5, channels).squeeze()
    image = itk.image_from_array(array, is_vector=channels > 1)
    image.SetSpacing([1.0, 2.0, 1.5])
    image.SetOrigin([3.0, -4.0, 5.0])
    itk.imwrite(image, str(tmp_path / f"a{ending}"), compression=bool(compressed))
    check_same(tmp_path / f"a{ending}")


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i2", "<f4", ">f4", ">i2", "f8"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "a.mgz", "a.mgh"])
def test_the_formats_of_nibabel_are_read_as_it_reads_them(name, dtype, scaled, tmp_path):
    is_mgh = name.endswith(("mgz", "mgh"))
    if is_mgh and (scaled or dtype == "f8"):
        pytest.skip("the format has no such thing")
    dtype = np.dtype(dtype)
    array = np.arange(2 * 3 * 4 * 2).reshape(2, 3, 4, 2).astype(dtype)
    affine = np.array([[0, -2.0, 0, 3], [1.5, 0, 0.2, -4], [0, 0, 3, 5], [0, 0, 0, 1]])
    if is_mgh:
        image = nib.MGHImage(array.astype(dtype.newbyteorder("=")), affine)
    else:
        kind = nib.Nifti1Pair if name == "a.hdr" else nib.Nifti1Image
        header = kind.header_class(endianness=">" if dtype.byteorder == ">" else "<")
        header.set_data_dtype(dtype)
        image = kind(array, affine, header)
        if scaled:
            image.header.set_slope_inter(0.3, -7)
    nib.save(image, tmp_path / name)
    read = nib.load(tmp_path / name)
    volume = open_volume(tmp_path / name)
    expected = np.moveaxis(np.asanyarray(read.dataobj).astype(np.float32), -1, 0)
    np.testing.assert_array_equal(volume.array(), expected)
    np.testing.assert_array_equal(volume.header.affine, read.affine)
    assert (volume.header.channels, volume.header.shape) == (2, (2, 3, 4))
    volume.check_content()


@pytest.mark.parametrize(("count", "intent"), [(3, "vector"), (3, "none"), (2, "none")])
def test_components_of_a_vector_nifti_are_channels_as_for_itk(tmp_path, count, intent):
    values = np.random.default_rng(0).normal(size=(6, 5, 4, 1, count)).astype(np.float32)
    saved = nib.Nifti1Image(values, np.eye(4))
    saved.header.set_intent(intent)
    nib.save(saved, tmp_path / "a.nii")
    volume = open_volume(tmp_path / "a.nii")
    header = volume.header
    assert (header.shape, header.channels, header.volumes) == ((6, 5, 4), count, 1)
    if intent == "vector":  # ITK itself takes no other
        theirs = itk.array_from_image(itk.imread(str(tmp_path / "a.nii")))
        np.testing.assert_array_equal(volume.array(), theirs.T)
    assert check_header("a", header) == []
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii").array, np.moveaxis(values[..., 0, :], -1, 0))


def test_points_in_time_are_no_channels_of_a_vector_nifti(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((6, 5, 4, 2, 3), np.float32), np.eye(4)), tmp_path / "a.nii")
    (problem,) = [one for one in check_header("a", open_volume(tmp_path / "a.nii").header) if "volumes" in one.message]
    assert "6 volumes); save one volume" in problem.message


def test_a_colour_nifti_becomes_its_luminance(tmp_path):
    colour = np.zeros((2, 3, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    colour["G"][1, 2, 3] = 100
    nib.save(nib.Nifti1Image(colour, np.eye(4)), tmp_path / "a.nii")
    volume = open_volume(tmp_path / "a.nii")
    assert volume.header.channels == 1 and "colour" in volume.header.notes[0]
    assert volume.array()[0, 1, 2, 3] == pytest.approx(58.7)
    assert np.count_nonzero(volume.array()) == 1


@pytest.mark.parametrize(
    ("name", "head", "said"),
    [
        ("a.nrrd", "NRRD0005\ntype: short\ndimension: 3\nsizes: 1 1 1\nencoding: raw\n\n", "no endian"),
        ("a.nrrd", "NRRD0005\ntype: block\ndimension: 3\nsizes: 1 1 1\nencoding: raw\n\n", "type 'block'"),
        ("a.nrrd", "NRRD0005\ntype: uchar\ntype: uchar\n\n", "field 'type' twice"),
        ("a.nrrd", "NRRD0005\nsecret: 5\n\n", "line 2 of its header, 'secret: 5', is no field"),
        ("a.nrrd", "NRRD0009\n\n", "does not begin with NRRD0001"),
        ("a.nrrd", "NRRD0005\n#\x01\n\n", "line 2 of its header has a control character"),
        ("a.nrrd", "NRRD0005\n" + "#\n" * 40000, "longer than 65536 bytes"),
        ("a.mha", "NDims = 3\nNDims = 3\n", "field 'NDims' twice"),
        ("a.mha", "Rotation = 1\nTransformMatrix = 1\n", "field 'TransformMatrix' twice"),
        ("a.mha", "NDims 3\n", "line 1 of its header, 'NDims 3', is no field"),
        ("a.mha", "NDims = 3\n", "no field 'ElementDataFile'"),
        (
            "a.mha",
            "NDims = three\nDimSize = 1 1 1\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n",
            "whole numbers",
        ),
        ("a.hdr", "x" * 348, "needs the file a.img beside it"),
    ],
)
def test_what_is_wrong_with_a_header_is_said(name, head, said, tmp_path):
    (tmp_path / name).write_bytes(head.encode())
    with pytest.raises(ValueError, match=said):
        open_volume(tmp_path / name)
