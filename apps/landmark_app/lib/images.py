"""Images: is one in the data store, and can a file be read safely?"""

from __future__ import annotations

import math
from pathlib import Path

from monailabel.interfaces.datastore import Datastore

from auto_config.datasets.images import read_header, read_image
from auto_config.errors import UserError

from .errors import ClientError
from .frames import shown_grid
from .landmark_labels import LandmarkLabels

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm")
UPLOAD_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", *PICTURE_ENDINGS)
"""Images that clients may send. No `.nhdr` or `.mhd`: their voxels are in another file, which their text names."""

MOST_VOXELS = 2**31
_HEADER_BYTES = 2**16
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
    if reason := why_unreadable(path):
        raise ClientError(reason, 422)


def check_self_contained(path: Path) -> None:
    """Nothing, if the file holds its voxels itself: the text of a NRRD or MetaImage may name any file of this machine.

    So may HDF5, which ITK reads by its content, whatever the file is called.

    Raises:
        ClientError: status 422, it does not.
    """
    if _is_hdf5(path):
        raise ClientError("the file is HDF5, whatever its name says; send it in the format of its name", 422)
    with path.open("rb") as stream:
        head = stream.read(_HEADER_BYTES).lower()
    lines = [line.strip() for line in head.split(b"\n\n", 1)[0].replace(b"\r", b"").split(b"\n")]
    refers = {
        ".nrrd": any(line.replace(b" ", b"").startswith(b"datafile:") for line in lines),
        ".mha": not any(line.replace(b" ", b"") == b"elementdatafile=local" for line in lines),
    }
    if refers.get(path.suffix.lower(), False):
        raise ClientError("the image has its voxels in another file; send one file that holds everything", 422)


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


def why_unreadable(path: Path) -> str | None:
    """Why an image file cannot be used, or None if it can be read. Its place on this machine is not told."""
    if not path.exists():
        return "the file of the image is gone"
    try:
        # A header of a few bytes may ask for more memory than there is.
        if math.prod(read_header(path).shape) > MOST_VOXELS:
            return f"the image has more than {MOST_VOXELS} voxels"
        read_image(path)
        shown_grid(path)
    except UserError as error:
        return str(error).replace(str(path), "the image")
    except Exception as error:
        return f"the image cannot be read: it is damaged, or no image ({type(error).__name__})"
    return None
