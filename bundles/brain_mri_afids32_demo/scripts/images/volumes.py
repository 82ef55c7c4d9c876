"""Volumes in files (NIfTI, MGZ, NRRD, MetaImage, arrays): headers are checked before anything is allocated."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling

from ..files.regular import open_regular
from .header import LARGEST_MM, PIXELS, Header
from .metaimage_header import read_metaimage_header
from .nrrd_header import read_nrrd_header
from .numpy_files import NUMPY_SUFFIXES, NumpyHeader, read_npy_header, read_npz_header
from .stored_voxels import (
    GZIP,
    MOST_VOXELS,
    RAW,
    StoredVoxels,
    check_content,
    check_promise,
    inflated_start,
    read_voxels,
)

NIFTI_SUFFIXES = (".nii.gz", ".nii")
PAIR_SUFFIXES = (".hdr", ".img")
MGH_SUFFIXES = (".mgz", ".mgh")
NRRD_SUFFIXES = (".nrrd", ".nhdr")
METAIMAGE_SUFFIXES = (".mha", ".mhd")
VOLUME_SUFFIXES = (*NIFTI_SUFFIXES, *NRRD_SUFFIXES, *METAIMAGE_SUFFIXES, *MGH_SUFFIXES, *NUMPY_SUFFIXES, ".hdr")
"""Endings of files that hold volumes (or one slice, which is read as a picture); of two files, that of the header."""

DETACHED_SUFFIXES = (".nhdr", ".mhd")
"""Endings of headers whose voxels are in a file beside them."""

_MGH_BYTES = 284
_FURTHEST_START = 2**24
"""Voxels of a NIfTI begin at the latest here: its extensions are text and tables, never that long."""
_COLOURS = {128: 3, 2304: 4}
"""NIfTI's codes of RGB and RGBA, with their number of bytes."""
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_COLOUR_NOTE = "is in colour and read as grey luminance; save it in grey if colours mean nothing"


@dataclass(frozen=True)
class Volume:
    """A volume whose header is read and whose voxels are still in the file.

    Args:
        header: What is known of it.
        stored: Where its voxels are.
        channel_axis: Axis of `stored` that holds channels; None for none.
        scaling: Slope and intercept of the voxels.
        is_colour: Whether the first axis of `stored` is red, green, blue (and alpha).
        keys: Pairs of key and value of an NRRD.
        is_reversed: Whether the axes of `stored` are in reverse: of an array, the last one varies fastest.
    """

    header: Header
    stored: StoredVoxels
    channel_axis: int | None = None
    scaling: tuple[float, float] = (1.0, 0.0)
    is_colour: bool = False
    keys: dict[str, str] | None = None
    is_reversed: bool = False

    def voxels(self, most: int = MOST_VOXELS) -> np.ndarray:
        """Voxels (C, *size) in the number type of the file, or the one that its scaling needs.

        Raises:
            ValueError: The file does not hold what its header promises, or more than `most` numbers.
        """
        array = read_voxels(self.stored, most)
        array = array.T if self.is_reversed else array
        if self.is_colour:
            return np.tensordot(_LUMINANCE, array[:3], axes=1)[None]
        if self.scaling != (1.0, 0.0):
            with np.errstate(invalid="ignore", over="ignore"):  # voxels that are not finite are checked by who reads
                array = apply_read_scaling(array, *(np.float64(one) for one in self.scaling))
        return array[None] if self.channel_axis is None else np.moveaxis(array, self.channel_axis, 0)

    def array(self, most: int = MOST_VOXELS) -> np.ndarray:
        """Voxels (C, *size) float32; errors as `voxels`."""
        with np.errstate(over="ignore"):  # numbers beyond float32 become infinite, which checks name
            return np.ascontiguousarray(self.voxels(most), dtype=np.float32)

    def check_content(self, most: int = MOST_VOXELS) -> None:
        """Raise as `voxels`, with one block of the file in memory at a time."""
        check_content(self.stored, most)


def is_volume(path: Path) -> bool:
    """Whether a file has the ending of a volume."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def open_volume(path: Path, most: int = MOST_VOXELS) -> Volume:
    """Read and check the header of a volume; its ending says the format.

    The voxels of ``.nhdr``, ``.mhd``, ``.hdr`` and ``.img`` are in a file beside it; of the others, in the file itself.

    Raises:
        ValueError: The header is of another form, or promises what cannot be: axes of no size, more voxels than the
            file can hold or than `most`, complex numbers.
    """
    name = path.name.lower()
    read = next(read for endings, read in _OPENERS if name.endswith(endings))
    volume = read(path)
    check_promise(volume.stored, most)
    return volume


def nifti_bytes(path: Path) -> int:
    """Bytes that a NIfTI in one file has where it is whole, decompressed, by its header.

    Raises:
        ValueError: It has no header of a NIfTI.
    """
    stored = _open_nifti(path).stored
    return stored.skipped + (stored.start or 0) + stored.count * stored.dtype.itemsize


def _open_nifti(path: Path) -> Volume:
    block = _start(path, 540)
    return _nifti(path, path, block, is_single=True, is_compressed=path.name.lower().endswith(".gz"))


def _open_pair(path: Path) -> Volume:
    """A NIfTI in two files, CASE.hdr and CASE.img; either of them is given."""
    header, voxels = (path.with_suffix(end.upper() if path.suffix.isupper() else end) for end in PAIR_SUFFIXES)
    for one in (header, voxels):
        if not one.is_file():
            raise ValueError(f"it needs the file {one.name} beside it, which is not there")
        if one.resolve().parent != path.parent.resolve():
            raise ValueError(f"{one.name} beside it is a link that leaves its folder")
    block = _start(header, 540)
    if block[344:347] not in (b"ni1", b"n+1") and block[4:7] not in (b"ni2", b"n+2"):
        raise ValueError("it is of the older format Analyze, which does not know left from right; save it as NIfTI")
    return _nifti(path, voxels, block, is_single=False, is_compressed=False)


def _nifti(path: Path, voxels: Path, block: bytes, *, is_single: bool, is_compressed: bool) -> Volume:
    second = int.from_bytes(block[:4], "little") == 540 or int.from_bytes(block[:4], "big") == 540
    kinds = ((nib.Nifti1Header, nib.nifti1.Nifti1PairHeader), (nib.Nifti2Header, nib.nifti2.Nifti2PairHeader))
    kind: Any = kinds[second][not is_single]
    length = kind.template_dtype.itemsize
    if len(block) < length:
        raise ValueError(f"it has {len(block)} bytes, the header of a NIfTI has {length}")
    # Without its extensions, whose lengths are a stranger's too, and of which none is used.
    header = kind(block[:length], check=True)
    shape = tuple(int(size) for size in header.get_data_shape())
    start = int(header["vox_offset"])
    if not 0 <= start <= _FURTHEST_START:
        raise ValueError(f"its voxels begin at byte {start} by its header")
    colours = _COLOURS.get(int(header["datatype"]), 0)
    dtype = np.dtype(np.uint8) if colours else header.get_data_dtype()
    # Components of one voxel stand on the fifth axis, behind one point in time, as ITK reads and writes them.
    has_components = len(shape) == 5 and shape[3] == 1 and not colours
    if has_components:
        shape = (*shape[:3], shape[4])
    slope, intercept = header.get_slope_inter()
    stored = StoredVoxels(
        voxels,
        0 if is_compressed else start,
        GZIP if is_compressed else RAW,
        _plain(dtype),
        (colours, *shape) if colours else shape,
        skipped=start if is_compressed else 0,
    )
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused with its file
        found = _nifti_header(header, path, shape)
    return Volume(
        replace(found, notes=(_COLOUR_NOTE,) if colours else (), volumes=1 if has_components else found.volumes),
        stored,
        channel_axis=len(shape) - 1 if len(shape) > 3 and not colours else None,
        scaling=(1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)),
        is_colour=bool(colours),
    )


def _nifti_header(nifti: Any, path: Path, shape: tuple[int, ...]) -> Header:
    qform_code, sform_code = int(nifti["qform_code"]), int(nifti["sform_code"])
    second_affine = None
    if sform_code and qform_code:
        # A qform that cannot be decoded does no harm where the sform is used.
        with contextlib.suppress(HeaderDataError, ValueError):
            qform = np.asarray(nifti.get_qform(), dtype=np.float64)
            second_affine = qform if (np.abs(qform) <= LARGEST_MM).all() else None
    return Header(
        shape=shape[:3],
        affine=np.asarray(nifti.get_best_affine(), dtype=np.float64),
        channels=shape[-1] if len(shape) > 3 else 1,
        dtype=str(nifti.get_data_dtype()),
        path=path,
        unit=nifti.get_xyzt_units()[0],
        volumes=_product(shape[3:]),
        second_affine=second_affine,
        oriented=bool(sform_code or qform_code),
    )


def _open_mgh(path: Path) -> Volume:
    is_compressed = path.name.lower().endswith("z")
    block = _start(path, _MGH_BYTES)
    if len(block) < _MGH_BYTES or int.from_bytes(block[:4], "big") != 1:
        raise ValueError("it does not begin as an MGH file of version 1")
    header = nib.freesurfer.mghformat.MGHHeader(block, check=True)
    shape = tuple(int(size) for size in header.get_data_shape())
    stored = StoredVoxels(
        path,
        0 if is_compressed else _MGH_BYTES,
        GZIP if is_compressed else RAW,
        _plain(header.get_data_dtype()),
        shape,
        skipped=_MGH_BYTES if is_compressed else 0,
    )
    return Volume(
        Header(
            shape=shape[:3],
            affine=np.asarray(header.get_affine(), dtype=np.float64),
            channels=shape[3] if len(shape) > 3 else 1,
            dtype=str(header.get_data_dtype().newbyteorder("=")),
            path=path,
            volumes=_product(shape[3:]),
        ),
        stored,
        channel_axis=3 if len(shape) > 3 else None,
    )


def _open_nrrd(path: Path) -> Volume:
    nrrd = read_nrrd_header(path, detached=path.name.lower().endswith(DETACHED_SUFFIXES))
    volume = _of_axes(path, nrrd.stored, nrrd.channel_axis, nrrd.affine, nrrd.oriented)
    return replace(volume, keys=dict(nrrd.keys))


def _open_metaimage(path: Path) -> Volume:
    meta = read_metaimage_header(path, detached=path.name.lower().endswith(DETACHED_SUFFIXES))
    return _of_axes(path, meta.stored, 0 if meta.channels > 1 else None, meta.affine, meta.oriented)


def _of_axes(path: Path, stored: StoredVoxels, channel_axis: int | None, affine: np.ndarray, oriented: bool) -> Volume:
    sizes = tuple(size for axis, size in enumerate(stored.sizes) if axis != channel_axis)
    if len(sizes) not in (2, 3, 4):
        raise ValueError(f"it has {len(sizes)} axes, an image has 2 or 3")
    header = Header(
        shape=sizes[:3],
        affine=affine,
        channels=1 if channel_axis is None else stored.sizes[channel_axis],
        dtype=str(stored.dtype.newbyteorder("=")),
        path=path,
        volumes=_product(sizes[3:]),
        oriented=oriented,
    )
    return Volume(header, stored, channel_axis)


def _open_npy(path: Path) -> Volume:
    return _of_array(path, read_npy_header(path))


def _open_npz(path: Path) -> Volume:
    return _of_array(path, read_npz_header(path))


def _of_array(path: Path, array: NumpyHeader) -> Volume:
    header = Header(
        shape=array.shape,
        affine=array.affine,
        channels=array.channels or 1,
        dtype=str(array.stored.dtype.newbyteorder("=")),
        path=path,
        unit="mm" if array.sized else PIXELS,
        oriented=array.oriented,
    )
    channel_axis = None if array.channels is None else 0
    return Volume(header, array.stored, channel_axis, is_reversed=array.last_axis_fastest)


def _start(path: Path, count: int) -> bytes:
    """The first bytes of a file, of its content where it is compressed."""
    if path.name.lower().endswith((".gz", ".mgz")):
        return inflated_start(path, count)
    with open_regular(path) as stream:
        return stream.read(count)


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind not in "iufb":
        kind = "complex numbers" if dtype.kind == "c" else f"values of type {dtype}"
        raise ValueError(f"its voxels are {kind}; save them as whole or real numbers")
    if dtype.itemsize > 8:
        raise ValueError(f"its voxels are numbers of {8 * dtype.itemsize} bits; save them with 64 or fewer")
    return dtype


def _product(sizes: tuple[int, ...]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


_OPENERS: tuple[tuple[tuple[str, ...], Callable[[Path], Volume]], ...] = (
    (NIFTI_SUFFIXES, _open_nifti),
    (MGH_SUFFIXES, _open_mgh),
    (PAIR_SUFFIXES, _open_pair),
    (NRRD_SUFFIXES, _open_nrrd),
    (METAIMAGE_SUFFIXES, _open_metaimage),
    ((".npy",), _open_npy),
    ((".npz",), _open_npz),
)
