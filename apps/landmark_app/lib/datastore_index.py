"""The list of images of a data store, kept so that neither a kill nor another process costs anything of it."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore, LocalDatastoreModel

from auto_config.bundle_scripts.landmark_files import atomic_write_text

from .errors import ClientError

logger = logging.getLogger(__name__)


class SafeIndex(LocalDatastore):
    """MONAI Label's list of images (``datastore_v2.json``), written atomically and never half seen.

    MONAI Label writes the file in place and does not start with a broken one; writes what this process remembers over
    what another one wrote (scoring runs in its own); and empties the list for a moment when it looks for new files,
    which requests on other threads see. Here each change reads the file, changes a copy and replaces both.
    """

    _datastore: LocalDatastoreModel
    _config_ts: float

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
            if image_id and not file.startswith("."):
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
            # Images and labels are found again from their files; what else it held stays in the file that is put aside.
            aside = path.with_name(f"{path.name}.broken-{int(time.time())}")
            path.replace(aside)
            logger.error("the list of images %s could not be read; it is now %s, and a new one is made", path, aside)
            return
        index.base_path = self._datastore_path
        self._datastore, self._config_ts = index, stamp

    def _write_index(self, index: LocalDatastoreModel) -> None:
        content = index.model_dump(exclude={"base_path"})
        atomic_write_text(self._datastore_config_path, json.dumps(content, indent=2, default=str))
        self._config_ts = os.stat(self._datastore_config_path).st_mtime  # noqa: PTH116  a string of the base class


def new_entry(image_id: str, ending: str, info: dict[str, Any]) -> ImageLabelModel:
    """The entry of an image in the list."""
    return ImageLabelModel(
        image=DataModel(info={**info, "ts": int(time.time()), "name": f"{image_id}{ending}"}, ext=ending)
    )
