"""The list of images of a data store, kept so that neither a kill nor another process costs anything of it."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore, LocalDatastoreModel

from auto_config.bundle_scripts.files.text import atomic_write_text

from ..core.answers import jsonable
from ..core.errors import ClientError
from ..core.links import leaves
from .index_repair import repaired

logger = logging.getLogger(__name__)
# A new image, and a new list of images.
_BEING_WRITTEN = re.compile(r"\.[0-9a-f]{32}\.tmp|\.datastore_v2\.json\.\w+\.tmp")


class SafeIndex(LocalDatastore):
    """MONAI Label's list of images (``datastore_v2.json``), written atomically and never half seen.

    MONAI Label writes the file in place and does not start with a broken one; writes what this process remembers over
    what another one wrote (scoring runs in its own); and empties the list for a moment when it looks for new files,
    which requests on other threads see. Here each change reads the file, changes a copy and replaces both.
    """

    _datastore: LocalDatastoreModel
    _config_ts: float
    _follow_links: bool = False

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        if not keywords.get("read_only"):
            self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        """Remove what a kill left of files that were being written; who writes them holds the lock."""
        with FileLock(self._lock_file):
            for path in Path(self._datastore_path).glob(".*.tmp"):
                if _BEING_WRITTEN.fullmatch(path.name):
                    path.unlink(missing_ok=True)

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is known of an image, also what another process wrote, and ``path``; empty for an unknown id."""
        self._init_from_datastore_file()
        info: dict[str, Any] = super().get_image_info(image_id)
        return info

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add to what is known of an image.

        Raises:
            ClientError: The data store has no such image.
        """
        with self._changed_index() as index:
            if image_id not in index.objects:
                raise ClientError(f"there is no image {image_id!r} in the data store", 404)
            index.objects[image_id].image.info.update(info)

    def _reconcile_datastore(self) -> None:
        """Make the list what the folder holds."""
        folder = Path(self._datastore.image_path())
        files = self._list_files(str(folder), self._extensions)
        found: dict[str, str] = {}
        for file in sorted(files):
            image_id, ending = self._to_id(file)
            if image_id and not file.startswith(".") and self._is_served(folder / file):
                found.setdefault(image_id, ending)
        if {key: one.image.ext for key, one in self._datastore.objects.items()} == found:
            return
        with self._changed_index() as index:
            index.objects = {
                image_id: one
                if (one := index.objects.get(image_id)) is not None and one.image.ext == ending
                else new_entry(image_id, ending, {})
                for image_id, ending in found.items()
            }

    def get_image_uri(self, image_id: str) -> str:
        """The file of an image, '' for an unknown id.

        Raises:
            ClientError: It became a link to a file outside of the folder, and such links are not followed.
        """
        path: str = super().get_image_uri(image_id)
        if path and not self._follow_links and leaves(Path(path), Path(self._datastore.image_path())):
            raise ClientError(f"image {image_id!r} is a link to a file outside of the folder of images", 403)
        return path

    def _is_served(self, file: Path) -> bool:
        """Whether a file of the folder may be an image; the log says why one may not."""
        try:
            file.name.encode()
        except UnicodeEncodeError:
            logger.warning("%r is not served: its name is no UTF-8; rename it", file.name)
            return False
        if not self._follow_links and leaves(file, file.parent):
            logger.warning("%s is not served: it is a link to a file elsewhere; --follow_links serves it", file.name)
            return False
        return True

    @contextmanager
    def _changed_index(self) -> Iterator[LocalDatastoreModel]:
        """A copy of the newest list to change; what the block leaves there becomes the list, here and on disk."""
        with FileLock(self._lock_file):
            self._load_index()
            index = self._datastore.model_copy(deep=True)
            yield index
            self._write_index(index)
            self._datastore = index

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:  # noqa: ARG002  the base class's signature
        with FileLock(self._lock_file):
            self._load_index()

    def _update_datastore_file(self, lock: bool = True) -> None:
        if lock:
            with FileLock(self._lock_file):
                self._write_index(self._datastore)
        else:
            self._write_index(self._datastore)

    def _load_index(self) -> None:
        path = Path(self._datastore_config_path)
        try:
            stamp = path.stat().st_mtime
            if stamp == self._config_ts:
                return
            index = LocalDatastoreModel.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except ValueError:
            index = self._repair_index(path)
            stamp = self._config_ts
        index.base_path = self._datastore_path
        self._datastore, self._config_ts = index, stamp

    def _repair_index(self, path: Path) -> LocalDatastoreModel:
        """Save what can be read of a list that is broken; the broken one is kept beside it."""
        content = path.read_bytes()
        index, notes = repaired(content, self._datastore)
        aside = path.with_name(f"{path.name}.broken-{int(time.time())}")
        aside.write_bytes(content)
        logger.error(
            "the list of images %s could not be read; it is kept as %s, and %d entries of it were saved",
            path,
            aside,
            len(index.objects),
        )
        for note in notes:
            logger.error("the list of images %s: %s", path, note)
        self._write_index(index)
        return index

    def _write_index(self, index: LocalDatastoreModel) -> None:
        """Write the list, if it can be read again.

        Raises:
            ClientError: It cannot; the one on disk stays.
        """
        content = index.model_dump(exclude={"base_path"})
        try:
            text = json.dumps(content, indent=2, default=str, allow_nan=False)
            LocalDatastoreModel.model_validate_json(text)
        except ValueError as error:
            raise ClientError("what is said of the image could not be read again; send plain JSON") from error
        atomic_write_text(self._datastore_config_path, text)
        self._config_ts = os.stat(self._datastore_config_path).st_mtime  # noqa: PTH116  a string of the base class


def new_entry(image_id: str, ending: str, info: dict[str, Any]) -> ImageLabelModel:
    """The entry of an image in the list."""
    return ImageLabelModel(
        image=DataModel(info={**jsonable(info), "ts": int(time.time()), "name": f"{image_id}{ending}"}, ext=ending)
    )
