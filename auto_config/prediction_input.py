"""What `predict` is asked to predict: the image files of each case."""

from __future__ import annotations

from pathlib import Path

from auto_config.bundle_scripts.image_files import IMAGE_SUFFIXES, case_name, images_by_case
from auto_config.datasets.images import image_suffix
from auto_config.errors import UserError

Images = dict[str, tuple[Path, ...]]
"""Files of each case by its name: one, or one for each channel."""


def find_images(source: Path) -> Images:
    """The images to predict by name of their case.

    Args:
        source: an image file, or a folder whose images `images_by_case` finds.

    Returns:
        Files of each case.

    Raises:
        UserError: nothing there, a file of another kind, no image in the folder, or two images of one name.
    """
    if not source.exists():
        raise UserError(f"{source}: is not there; give an image or a folder of images")
    if source.is_file():
        if image_suffix(source) is None:
            raise UserError(f"{source}: not an image that can be read; allowed are {', '.join(IMAGE_SUFFIXES)}")
        return {case_name(source): (source,)}
    try:
        return {case: (path,) for case, path in images_by_case(source).items()}
    except ValueError as error:
        raise UserError(str(error)) from error
