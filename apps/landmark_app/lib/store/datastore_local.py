"""The data store for a folder of images."""

from __future__ import annotations

import filecmp
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auto_config.bundle_scripts.images.header import ImageFileError
from auto_config.bundle_scripts.images.reading import check_image

from ..core.errors import ClientError
from ..core.requests import image_id as checked_id
from ..core.served import forget
from .datastore_index import new_entry
from .landmark_labels import BundleNames, LandmarkLabels, ManyNames, none_many


class LocalLandmarkDatastore(LandmarkLabels):
    """A folder with images, and in its folder ``labels`` their landmarks.

    Args:
        folder: The folder; it is made if it is not there.
        bundles: The landmark names that labels may use.
        many: Those that a label may have any number of.
        extensions: Patterns of the images' file names.
        auto_reload: Whether to watch the folder for new images.
        read_only: Whether to leave MONAI Label's list of images as it is.
        follow_links: Whether links to files outside of the folder are images and labels.
    """

    def __init__(
        self,
        folder: str,
        *,
        bundles: BundleNames,
        many: ManyNames = none_many,
        extensions: Sequence[str],
        auto_reload: bool = False,
        read_only: bool = False,
        follow_links: bool = False,
    ) -> None:
        super().__init__(
            bundles=bundles,
            many=many,
            follow_links=follow_links,
            datastore_path=folder,
            extensions=list(extensions),
            auto_reload=auto_reload,
            read_only=read_only,
        )

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any] | None) -> str:
        """Take an image, if it is one.

        Args:
            image_id: Id to give it; the file's name if empty.
            image_filename: The file; it is copied.
            image_info: What is known of it.

        Returns:
            Its id.

        Raises:
            ClientError: An id that is none, a file that cannot be read as an image, or an id that another image has.
        """
        source = Path(image_filename)
        own_id, ending = self._to_id(source.name)
        image_id = checked_id(image_id or own_id)
        allowed = [pattern.lstrip("*") for pattern in self._extensions]
        if ending.lower() not in allowed:
            raise ClientError(f"image {image_id!r} ends with {ending!r}; allowed are {', '.join(allowed)}")
        try:
            check_image(source)
        except ImageFileError as error:
            raise ClientError(
                f"image {image_id!r} cannot be read as an image; send a whole, valid file", 422
            ) from error
        folder = Path(self._datastore.image_path())
        target = folder / f"{image_id}{ending}"
        with self._changed_index() as index:
            self._refuse_another(image_id, source, target)
            temporary = folder / f".{uuid.uuid4().hex}.tmp"
            try:
                shutil.copyfile(source, temporary)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
            index.objects[image_id] = new_entry(image_id, ending, image_info or {})
        return image_id

    def remove_image(self, image_id: str) -> None:
        """Remove an image with all its labels.

        Raises:
            ClientError: There is no such image.
        """
        self.require_image(image_id)
        path = Path(self.get_image_uri(image_id))
        with self._changed_index() as index:
            for tag in self.label_files.tags():
                self.label_files.remove(image_id, tag)
            forget(self.landmark_folder(), image_id)
            path.unlink(missing_ok=True)
            index.objects.pop(image_id, None)

    def _refuse_another(self, image_id: str, source: Path, target: Path) -> None:
        """Raise a ClientError (409) where labels would silently get another image."""
        existing = self._datastore.objects.get(image_id)
        if existing is None or not (Path(self._datastore.image_path()) / f"{image_id}{existing.image.ext}").is_file():
            return
        same_name = f"{image_id}{existing.image.ext}" == target.name
        if not same_name or (self.get_labels_by_image_id(image_id) and not filecmp.cmp(source, target, shallow=False)):
            raise ClientError(
                f"there is another image {image_id!r} already; give this one another id, or remove that one first", 409
            )
