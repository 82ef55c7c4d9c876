"""A small valid image in each format that is read, and what reading it must give also where it is spoiled."""

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from dicom_writer import write_dicom
from format_examples import SHAPE
from PIL import Image

_LARGEST = 2**22
"""Voxels that are read at most: a spoiled header may ask for any number, which takes memory and time and no care."""


def _volume() -> np.ndarray:
    return np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)


def _nifti(ending: str, kind: type[nib.Nifti1Image]) -> Callable[[Path], list[Path]]:
    def write(root: Path) -> list[Path]:
        image = kind(_volume(), np.diag([-1.0, -2.0, 1.5, 1.0]))
        image.header.set_xyzt_units("mm")
        image.set_qform(image.affine, 1)
        path = root / f"image{ending}"
        nib.save(image, path)
        return sorted(root.iterdir())

    return write


def _mgh(ending: str) -> Callable[[Path], list[Path]]:
    def write(root: Path) -> list[Path]:
        path = root / f"image{ending}"
        nib.save(nib.MGHImage(_volume(), np.diag([-1.0, -2.0, 1.5, 1.0])), path)
        return [path]

    return write


def _itk(ending: str) -> Callable[[Path], list[Path]]:
    def write(root: Path) -> list[Path]:
        import itk

        image = itk.image_view_from_array(np.ascontiguousarray(_volume().T))
        image.SetSpacing([1.0, 2.0, 1.5])
        itk.imwrite(image, str(root / f"image{ending}"))
        return sorted(root.iterdir())

    return write


def _picture(ending: str, colour: bool = False) -> Callable[[Path], list[Path]]:
    def write(root: Path) -> list[Path]:
        grey = np.arange(120, dtype=np.uint8).reshape(10, 12)
        path = root / f"image{ending}"
        picture = Image.fromarray(np.stack([grey] * 3, axis=-1) if colour else grey)
        picture.save(path, **({"dpi": (254, 254)} if ending == ".tif" else {}))
        return [path]

    return write


def _dicom_file(root: Path) -> list[Path]:
    rows = np.arange(120, dtype=np.uint16).reshape(10, 12)
    return [write_dicom(root / "image.dcm", rows, spacing="0.5\\0.4", modality="DX")]


def _dicom_series(root: Path) -> list[Path]:
    rows = np.arange(120, dtype=np.uint16).reshape(10, 12)
    tags = {"spacing": "0.5\\0.4", "orientation": "1\\0\\0\\0\\1\\0", "slope": "1", "intercept": "-1024"}
    (root / "series").mkdir()
    return [
        write_dicom(root / "series" / f"{z}.dcm", rows, name=str(z + 1), position=f"1\\2\\{2 * z}", **tags)
        for z in range(4)
    ]


def _npy(root: Path) -> list[Path]:
    np.save(root / "image.npy", np.asfortranarray(_volume()))
    (root / "image.npy.json").write_text('{"affine": [[-1, 0, 0, 0], [0, -2, 0, 0], [0, 0, 1.5, 0], [0, 0, 0, 1]]}')
    return sorted(root.iterdir())


def _npz(compressed: bool) -> Callable[[Path], list[Path]]:
    def write(root: Path) -> list[Path]:
        save = np.savez_compressed if compressed else np.savez
        save(root / "image.npz", image=_volume(), affine=np.diag([-1.0, -2.0, 1.5, 1.0]))
        return [root / "image.npz"]

    return write


IMAGES: dict[str, Callable[[Path], list[Path]]] = {
    "nifti": _nifti(".nii", nib.Nifti1Image),
    "nifti_gz": _nifti(".nii.gz", nib.Nifti1Image),
    "nifti2": _nifti(".nii", nib.Nifti2Image),
    "nifti_pair": _nifti(".hdr", nib.Nifti1Pair),
    "mgz": _mgh(".mgz"),
    "mgh": _mgh(".mgh"),
    "nrrd": _itk(".nrrd"),
    "nhdr": _itk(".nhdr"),
    "mha": _itk(".mha"),
    "mhd": _itk(".mhd"),
    "npy": _npy,
    "npz": _npz(compressed=False),
    "npz_deflated": _npz(compressed=True),
    "png": _picture(".png"),
    "jpeg": _picture(".jpg"),
    "bmp": _picture(".bmp", colour=True),
    "tiff": _picture(".tif"),
    "dicom": _dicom_file,
    "dicom_series": _dicom_series,
}
"""Name of an image format to what writes an image alone in a folder, and says which files there are."""


def the_image(root: Path) -> Path:
    """The image in a folder that one of `IMAGES` has filled."""
    series = root / "series"
    if series.is_dir():
        return series
    files = sorted(root.iterdir())
    # Of a header and its voxels, the header.
    return next((path for path in files if path.suffix in (".nhdr", ".mhd", ".hdr")), files[0])


def in_a_child(function: Callable[[], object]) -> int:
    """Call a function in a process that a native reader may end: 0, 1 if it raised, or minus the signal."""
    child = os.fork()
    if child == 0:
        status = 0
        try:
            function()
        except BaseException:  # the traceback is what the test's output shows
            traceback.print_exc()
            status = 1
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def image_outcome(root: Path) -> str:
    """Read a spoiled image as `inspect` does, first its header, then its voxels; what came of it.

    Returns:
        ``"read"``, ``"problems"`` or ``"error"``.

    Raises:
        AssertionError: A message of several lines or without the file, or voxels that are not as the header says.
    """
    from auto_config.bundle_scripts.points.landmarks import LandmarkSet
    from auto_config.datasets import Case
    from auto_config.datasets.images import read_image
    from auto_config.errors import UserError
    from auto_config.inspection.cases import inspect_case

    path = the_image(root)
    case = Case("case", (path,), LandmarkSet.from_inline({"AC": [-2.0, -3.0, 3.0]}))
    reports = [inspect_case(case, names=("AC",), outside="error", headers_only=True, pictures=False)]
    header = reports[0].header
    flat = header is not None and len(header.shape) == 2
    if flat:
        case = Case("case", (path,), LandmarkSet.from_inline({"AC": [0.5, 0.5]}))
        reports = [inspect_case(case, names=("AC",), outside="error", headers_only=True, pictures=False)]
    if header is not None and np.prod(header.shape, dtype=float) * header.channels * header.volumes <= _LARGEST:
        reports.append(inspect_case(case, names=("AC",), outside="absent", headers_only=False, pictures=False))
        try:
            image = read_image(path)
        except UserError:
            pass
        else:
            assert header.volumes > 1 or image.array.shape == (header.channels, *header.shape)
            assert image.array.dtype == np.float32
    messages = [problem.message for report in reports for problem in report.problems]
    for message in messages:
        assert len(message.splitlines()) == 1, f"several lines: {message[:300]!r}"
        assert path.name in message, f"without the file: {message[:300]!r}"
    if reports[-1].header is None:
        return "error"
    return "problems" if messages else "read"
