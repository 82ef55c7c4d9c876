"""What the data stores for local folders and for DICOMweb share: labels are landmarks, in whatever form they come."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import DefaultLabelTag

from auto_config.bundle_scripts.images.reading import IMAGE_SUFFIXES
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.errors import UserError

from ..core.errors import ClientError
from ..core.names import NONE_MANY, Many
from ..core.requests import tag as checked_tag
from ..core.served import served
from ..geometry.balls import Grid
from ..geometry.frames import shown_grid
from ..labels.label_forms import ENDINGS, ClientLabel, label_ending, read_client_label
from .datastore_index import SafeIndex
from .label_files import CANONICAL_ENDING, LabelFiles

logger = logging.getLogger(__name__)

FINAL = DefaultLabelTag.FINAL.value
ORIGINAL = DefaultLabelTag.ORIGINAL.value

BundleNames = Callable[[], Mapping[str, Sequence[str]]]
"""Gives, for each bundle of the server as it is now, its landmark names in channel order."""

ManyNames = Callable[[Path | None], Many]
"""Gives the landmarks of which an image may have any number, in any bundle of the server as it is now, with the least
distances in the world in which viewers show an image; in that of the bundle where none is given."""


def none_many(_image: Path | None) -> Many:
    """That there are many of no landmark."""
    return NONE_MANY


class LandmarkLabels(SafeIndex):
    """A data store whose labels are landmarks.

    The canonical label of an image, ``labels/TAG/IMAGE.mrk.json``, is what counts; see `LabelFiles`. The id of a label
    is that of its image. Nothing of a label is kept in MONAI Label's own list, so nothing can contradict the files.

    Args:
        bundles: The landmark names that labels may use.
        many: Those that a label may have any number of.
        follow_links: Whether links to files outside of the folder are images and labels.
        arguments: Those of MONAI Label's data store.
    """

    def __init__(
        self, *, bundles: BundleNames, many: ManyNames = none_many, follow_links: bool = False, **arguments: Any
    ) -> None:
        self._bundles = bundles
        self._follow_links = follow_links
        self.many_names = many
        super().__init__(**arguments)

    # -------------------------------------------------------- landmarks

    @cached_property
    def label_files(self) -> LabelFiles:
        """The labels on disk."""
        folder = Path(self._datastore.label_path(None))
        return LabelFiles(folder, lambda: self.many_names(None), follow_links=self._follow_links)

    def landmark_folder(self) -> Path:
        """The folder in which the server may keep what belongs to the images (`served`)."""
        return Path(self._datastore_path)

    def landmark_names(self) -> tuple[str, ...]:
        """All names that a label may use."""
        return tuple(dict.fromkeys(name for names in self._bundles().values() for name in names))

    def canonical(self, image_id: str, tag: str) -> LandmarkSet | None:
        """The landmarks of a label in world RAS mm; None where there is none that can be read."""
        return self.label_files.landmarks(image_id, tag)

    def canonical_path(self, image_id: str, tag: str) -> Path:
        """Where the canonical label of an image is, or would be."""
        return self.label_files.canonical_path(image_id, tag)

    def label_problems(self) -> dict[str, str]:
        """What is wrong with the canonical labels that cannot be read, by ``TAG/IMAGE``."""
        found = {
            f"{tag}/{image_id}": self.label_files.problem(image_id, tag)
            for tag in self.label_files.tags()
            for image_id in self.list_images()
        }
        return {key: problem for key, problem in found.items() if problem}

    # -------------------------------------------------------- labels

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any] | None) -> str:
        """Take a label of any form, keep it as it is, and make its landmarks the label.

        Args:
            image_id: Id of an image of the data store.
            label_filename: File that the client sent; its ending says its form, see `label_forms`.
            label_tag: ``final``, ``original`` or another one.
            label_info: What the client sent with it (``label_info``, ``model``); what was found out is added, see
                `get_label_info`: ``form``, ``kept``, ``confidence``, ``radius_mm``, ``verdict``,
                ``notes``.

        Returns:
            The id of the label.

        Raises:
            ClientError: No such image, or the label cannot be used; nothing was changed then.
        """
        tag = checked_tag(label_tag)
        self.require_image(image_id)
        info = dict(label_info or {})
        path = Path(label_filename)
        label = self.understand(image_id, path, tag, info)
        for note in label.notes:
            logger.info("label of image %s, tag %s: %s", image_id, tag, note)
        ending = label_ending(path.name)
        self.label_files.save(image_id, tag, path, ending=ending, landmarks=label.landmarks, info=info | facts(label))
        self.stored(image_id, tag, label)
        return image_id

    def stored(self, image_id: str, tag: str, label: ClientLabel) -> None:
        """Called when a label is stored; a data store that passes labels on does so here."""

    def understand(self, image_id: str, path: Path, tag: str, info: Mapping[str, Any]) -> ClientLabel:
        """The landmarks in a file that a client sent; nothing is stored.

        Raises:
            ClientError: The label cannot be used, or the image cannot be read.
        """
        # What a model found may lie outside; what a person places does not.
        by_model = tag == ORIGINAL or isinstance(info.get("params"), Mapping)
        return read_client_label(
            path,
            image=image_id,
            grid=self.image_grid(image_id),
            bundles=self._bundles(),
            info=info,
            records=served(self.landmark_folder(), image_id),
            outside="unknown" if by_model else "error",
            many=self.many_names(Path(self.get_image_uri(image_id))),
        )

    def image_grid(self, image_id: str) -> Grid:
        """Where viewers show the voxels of an image; a picture is a volume of one slice.

        Raises:
            ClientError: The file of the image is broken.
        """
        try:
            return shown_grid(Path(self.get_image_uri(image_id)))
        except UserError as error:
            raise ClientError(f"image {image_id!r} cannot be read; replace its file", 422) from error

    def require_image(self, image_id: str) -> None:
        """Raise a ClientError (404) for an image that the data store does not have."""
        if image_id not in self.list_images():
            raise ClientError(f"there is no image {image_id!r} in the data store", 404)

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove a label in all its forms."""
        self.require_image(label_id)
        self.label_files.remove(label_id, checked_tag(label_tag))

    def get_label_uri(self, label_id: str, label_tag: str, image_id: str = "") -> str:  # noqa: ARG002  MONAI Label's
        """The file of a label as it was last sent, or the canonical one after a person corrected that; or ''."""
        if not self._has(label_id, label_tag):
            return ""
        return str(self.label_files.shown_file(label_id, label_tag) or "")

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """The labels of an image: tag to id."""
        return {tag: image_id for tag in self.label_files.tags() if self._has(image_id, tag)}

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """The id of the label of an image, or ''."""
        return image_id if self._has(image_id, tag) else ""

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """What is known of a label, see `save_label`; empty where there is none."""
        return self.label_files.info(label_id, label_tag) if self._has(label_id, label_tag) else {}

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add to what is known of a label.

        Raises:
            ClientError: There is no such label.
        """
        if not self._has(label_id, label_tag):
            raise ClientError(f"image {label_id!r} has no label with tag {label_tag!r}", 404)
        self.label_files.update_info(label_id, label_tag, info)

    # -------------------------------------------------------- the whole store

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:  # noqa: ARG002  MONAI Label's
        """Ids of the images that have a label with a tag, ``final`` if none is given."""
        return [image_id for image_id in self.list_images() if self._has(image_id, label_tag or FINAL)]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Ids of the other images, also of those whose label is broken."""
        labeled = set(self.get_labeled_images(label_tag, labels))
        return [image_id for image_id in self.list_images() if image_id not in labeled]

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Images and canonical labels to train on, tag ``final``: ``{"image": path, "label": path}``.

        Labels that cannot be read are left out and logged.

        Args:
            full_path: Whether the paths are absolute, or relative to the folder of the data store.
        """
        for key, problem in self.label_problems().items():
            logger.warning("label %s is not used: %s", key, problem)
        items = [
            {
                "image": self.get_image_uri(image_id),
                "label": str(self.canonical_path(image_id, FINAL).resolve()),
            }
            for image_id in self.get_labeled_images(FINAL)
        ]
        if full_path:
            return items
        root = Path(self._datastore_path).resolve()
        return [{key: str(Path(value).relative_to(root)) for key, value in item.items()} for item in items]

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """A zip file of the images and labels to train on.

        Raises:
            ClientError: There is nothing to put into it.
        """
        if not self.get_labeled_images(FINAL):
            raise ClientError("no image has a final label yet; there is nothing to download", 404)
        archive: str = super().get_dataset_archive(limit_cases)
        return archive

    def status(self) -> dict[str, Any]:
        """Numbers of images and labels, and the labels that cannot be read."""
        images = self.list_images()
        counts = {tag: len(self.get_labeled_images(tag)) for tag in self.label_files.tags()}
        return {
            "total": len(images),
            "completed": counts.get(FINAL, 0),
            "label_tags": {tag: count for tag, count in counts.items() if count},
            "label_problems": self.label_problems(),
        }

    def json(self) -> dict[str, Any]:
        """Everything: images and labels, with what is known of them."""
        self._init_from_datastore_file()
        content: dict[str, Any] = self._datastore.model_dump(exclude={"base_path"})
        for image_id in self.list_images():
            entry = content["objects"].setdefault(image_id, {"image": {"ext": "", "info": {}}})
            entry["labels"] = {
                tag: {"ext": self._ending_of(image_id, tag), "info": self.get_label_info(image_id, tag)}
                for tag in self.get_labels_by_image_id(image_id)
            }
        # Numbers of NumPy and dates that somebody put into an info would stop the whole answer.
        plain: dict[str, Any] = json.loads(json.dumps(content, default=str))
        return plain

    # -------------------------------------------------------- for the base class

    def _has(self, image_id: str, tag: str) -> bool:
        return _is_plain(image_id) and _is_plain(tag) and self.label_files.has(image_id, tag)

    def _ending_of(self, image_id: str, tag: str) -> str:
        shown = self.label_files.shown_file(image_id, tag)
        return shown.name[len(image_id) :] if shown else CANONICAL_ENDING

    def _to_id(self, file: str) -> tuple[str, str]:
        """Id and ending of a file name; only at its end is the ending an ending."""
        patterns = (pattern.lstrip("*") for pattern in self._extensions)
        for ending in sorted({*patterns, *ENDINGS, *IMAGE_SUFFIXES}, key=len, reverse=True):
            if ending and file.lower().endswith(ending):
                return file[: -len(ending)], file[-len(ending) :]
        return Path(file).stem, Path(file).suffix


def facts(label: ClientLabel) -> dict[str, Any]:
    """What was found out about a label, as JSON."""
    return {
        "form": label.form,
        "kept": list(label.kept),
        "confidence": dict(label.confidence),
        "radius_mm": dict(label.radius_mm),
        "verdict": dict(label.verdict),
        "notes": list(label.notes),
    }


def _is_plain(name: str) -> bool:
    """Whether a name is that of one file in a folder."""
    return re.fullmatch(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]{0,199}", name) is not None
