"""The transform with which bundles load images: the same code that inspects and plans data sets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader, MetaTensor
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey, MetaKeys, SpaceKeys, ensure_tuple

from .header import Image, ImageFileError, several_volumes
from .reading import read_image


class FileReader(ImageReader):
    """Reads any image of `image_reading`, channel first, one file or one for each channel.

    Args:
        spatial_dims: 2 or 3; an image with another number of axes is refused.
        pixel_spacing: pixel size (x, y) in mm of pictures; None for what each file says.
        channels: an image with another number of channels is refused; None takes any.
    """

    def __init__(
        self, spatial_dims: int = 3, pixel_spacing: Sequence[float] | None = None, channels: int | None = None
    ) -> None:
        self.spatial_dims, self.channels = int(spatial_dims), channels
        self.pixel_spacing = None if pixel_spacing is None else [float(size) for size in pixel_spacing]

    def verify_suffix(self, filename: Sequence[str | os.PathLike] | str | os.PathLike) -> bool:  # noqa: ARG002
        """There is no other reader: whatever cannot be read is an error that says so."""
        return True

    def read(self, data: Sequence[str | os.PathLike] | str | os.PathLike, **_: Any) -> Image:
        """Read the file, or the files of the channels.

        Raises:
            ImageFileError: the file cannot be read, the channels do not fit each other, or the number of axes is wrong.
        """
        paths = [data] if isinstance(data, (str, os.PathLike)) else list(data)
        image = read_image([Path(path) for path in paths], self.pixel_spacing)
        check_axes(image, self.spatial_dims)
        if self.channels is not None and len(image.array) != self.channels:
            raise ImageFileError(
                f"{image.path}: has {len(image.array)} channels; this bundle was made for {self.channels}, give an "
                "image with as many"
            )
        return image

    def get_data(self, img: Image) -> tuple[np.ndarray, dict[str, Any]]:
        """Voxels (C, *size), and the meta data that MONAI's transforms need, affines 4 x 4 as they are used to."""
        dims = self.spatial_dims
        affine = np.eye(4)
        affine[:dims, :dims], affine[:dims, -1] = img.affine[:dims, :dims], img.affine[:dims, -1]
        meta = {
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPATIAL_SHAPE: np.asarray(img.array.shape[1:]),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0,
        }
        return img.array, meta


class LoadFilesd(MapTransform):
    """What MONAI's ``LoadImaged`` does with `FileReader`, channel first, and with no other reader.

    MONAI 1.6.1 falls back on its own readers where the one that it was given raises, so that a DICOM series with
    missing slices, or a picture in a bundle for volumes, would be read all the same. It also imports what all of them
    need (ITK, which imports IPython where that is installed), which takes longer than reading most images.

    Args:
        keys: keys of images: a path, or a path for each channel.
        spatial_dims: see `FileReader`.
        pixel_spacing: see `FileReader`.
        channels: see `FileReader`.
    """

    def __init__(
        self,
        keys: str | Sequence[str],
        spatial_dims: int = 3,
        pixel_spacing: Sequence[float] | None = None,
        channels: int | None = None,
    ) -> None:
        super().__init__(keys)
        self.file_reader = FileReader(spatial_dims, pixel_spacing, channels)

    def __call__(self, data: Any, reader: ImageReader | None = None) -> dict[Any, Any]:
        """Load every key as float32; raises what `FileReader` raises. A reader that a caller gives takes its place."""
        chosen = self.file_reader if reader is None else reader
        done = dict(data)
        for key in self.key_iterator(done):
            files = [str(Path(name).expanduser()) for name in ensure_tuple(done[key])]
            array, meta = chosen.get_data(chosen.read(files))
            meta[ImageMetaKey.FILENAME_OR_OBJ] = files[0]
            done[key] = MetaTensor.ensure_torch_and_prune_meta(np.asarray(array, dtype=np.float32), meta)
        return done


def check_axes(image: Image, spatial_dims: int) -> None:
    """Refuse a volume where pictures are wanted, and the other way round.

    Raises:
        ImageFileError: the image has another number of axes, or there are several in the file.
    """
    if image.header.volumes > 1:
        raise ImageFileError(several_volumes(image.header))
    if len(image.header.shape) != spatial_dims:
        kinds = {2: "a picture", 3: "a volume"}
        found = kinds.get(len(image.header.shape))
        raise ImageFileError(
            f"{image.path}: is {found} of {' x '.join(map(str, image.array.shape[1:]))}; this bundle was made for "
            f"{spatial_dims}D, give {kinds[spatial_dims]}"
        )
