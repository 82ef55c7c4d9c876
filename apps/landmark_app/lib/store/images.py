"""Images: is one in the data store, and can a file be read safely?"""

from __future__ import annotations

from pathlib import Path

from monailabel.interfaces.datastore import Datastore

from auto_config.bundle_scripts.images.header_lines import OtherFileError
from auto_config.bundle_scripts.images.metaimage_header import read_metaimage_header
from auto_config.bundle_scripts.images.nrrd_header import read_nrrd_header
from auto_config.bundle_scripts.images.stored_voxels import MOST_VOXELS

from ..core.errors import ClientError
from ..labels.reading_process import READING
from .landmark_labels import LandmarkLabels

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm")
UPLOAD_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", *PICTURE_ENDINGS)
"""Images that clients may send. No `.nhdr` or `.mhd`: their voxels are in another file, which their text names."""

_HEADERS = {".nrrd": read_nrrd_header, ".mha": read_metaimage_header}
_HDF5, _HDF5_FIRST_BLOCK = b"\x89HDF\r\n\x1a\n", 512


def require_image(datastore: Datastore, image: str) -> None:
    """Nothing, if the data store has the image.

    Raises:
        ClientError: status 400, no image is named; 404, there is none of this name.
    """
    if not image:
        raise ClientError("no image is given; add ?image=ID, or send one")
    if isinstance(datastore, LandmarkLabels):
        # It asks a PACS again for a series that arrived a moment ago.
        datastore.require_image(image)
    elif image not in datastore.list_images():
        raise ClientError(f"there is no image {image!r} in the data store", 404)


def check_image_file(path: Path) -> None:
    """Nothing, if the sent file is an image that can be read and holds its voxels itself. Reads it whole.

    Raises:
        ClientError: status 422, it is damaged, too large, or refers to another file of this machine.
    """
    check_self_contained(path)
    if reason := why_unreadable(path, READING.most_voxels):
        raise ClientError(reason, 422)


def check_self_contained(path: Path) -> None:
    """Nothing, if the file holds its voxels itself: the text of a NRRD or MetaImage may name any file of this machine.

    So may HDF5, which ITK reads by its content, whatever the file is called.

    Raises:
        ClientError: status 422, it does not.
    """
    if _is_hdf5(path):
        raise ClientError("the file is HDF5, whatever its name says; send it in the format of its name", 422)
    read = _HEADERS.get(path.suffix.lower())
    if read is None:
        return
    try:
        read(path)
    except OtherFileError as error:
        raise ClientError(
            "the image has its voxels in another file; send one file that holds everything", 422
        ) from error
    except (ValueError, OSError):
        return  # whoever reads it says what is wrong


def _is_hdf5(path: Path) -> bool:
    """Whether a file has the signature of HDF5: at its begin, or at 512, 1024, 2048, ... bytes after a foreign text."""
    size, place = path.stat().st_size, 0
    with path.open("rb") as stream:
        while place < size:
            stream.seek(place)
            if stream.read(len(_HDF5)) == _HDF5:
                return True
            place = max(_HDF5_FIRST_BLOCK, 2 * place)
    return False


def why_unreadable(path: Path, most_voxels: int = MOST_VOXELS) -> str | None:
    """Why an image file cannot be used, or None if it can be read. Its place on this machine is not told.

    Read in a process of its own, see `reading_process`.
    """
    if not path.exists():
        return "the file of the image is gone"
    return READING.why_unreadable(path, most_voxels)
