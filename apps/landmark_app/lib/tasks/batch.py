"""Inference of many images in a row, whose landmarks become their labels with the tag ``original``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.batch_infer import BatchInferTask
from monailabel.utils.others.generic import device_map

from ..core.background import end_with_parent, failure, one_line
from ..core.devices import torch_device
from ..core.errors import ClientError
from ..core.requests import flag, integer

logger = logging.getLogger(__name__)

IMAGES = ("all", "labeled", "unlabeled")
_NOT_OF_ONE_IMAGE = (HTTPStatus.CONFLICT, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.NOT_FOUND)


class LandmarkBatch(BatchInferTask):
    """Images one after the other on one device; one that cannot be read is reported, and the rest goes on.

    A label is saved whole or not at all, so the job can be stopped at any moment. MONAI Label calls it in a process of
    its own, which ends when the server does.
    """

    def __call__(
        self, request: Mapping[str, Any], datastore: Datastore, infer: Callable[..., dict[str, Any]]
    ) -> dict[str, Any]:
        """Find the landmarks of the images.

        Args:
            request: ``model``; ``images``, one of `IMAGES` or a list of ids; ``label_tag``; ``max_batch_size``, the
                most images, 0 for all; ``save_label``, true if it is not there; ``device``; and the model's options.
            datastore: has the images and takes the labels.
            infer: the app's own inference, which also records what was found.

        Returns:
            For each image ``{"label": id of the label}`` or ``{"error": one line}``.

        Raises:
            SystemExit: nothing could be found; the last line of output begins with ``error:`` and says why.
        """
        try:
            with end_with_parent():
                options = check_batch(request)
                ids = self._images(request, datastore)
                done = self._run(ids, {**request, **options}, datastore, infer)
        except ClientError as error:
            raise failure(one_line(error)) from error
        failed = [answer["error"] for answer in done.values() if "error" in answer]
        if ids and len(failed) == len(ids):
            raise failure(f"none of {len(ids)} images could be used: {failed[0]}")
        print(f"{len(ids) - len(failed)} of {len(ids)} images have landmarks, {len(failed)} failed", flush=True)
        return done

    def _images(self, request: Mapping[str, Any], datastore: Datastore) -> list[str]:
        wanted = request.get("images", IMAGES[0])
        if not isinstance(wanted, list) and wanted not in IMAGES:
            raise ClientError(f"images is {wanted!r}; give one of {', '.join(IMAGES)}, or a list of ids")
        found: Iterable[str] = self.get_images(request, datastore)
        ids, most = sorted(found), int(request.get("max_batch_size", 0))
        return ids[:most] if most else ids

    def _run(
        self, ids: list[str], request: dict[str, Any], datastore: Datastore, infer: Callable[..., dict[str, Any]]
    ) -> dict[str, Any]:
        done: dict[str, Any] = {}
        for number, image_id in enumerate(ids, start=1):
            done[image_id] = _infer_one({**request, "image": image_id}, datastore, infer)
            outcome = done[image_id].get("error", "done")
            print(f"{number}/{len(ids)} {image_id}: {outcome}", flush=True)
        return done


def check_batch(request: Mapping[str, Any]) -> dict[str, Any]:
    """What each image's request has besides what the client gave; also before a process is started for them.

    Raises:
        ClientError: an option that is not allowed.
    """
    most = integer("max_batch_size", request.get("max_batch_size", 0))
    if most < 0:
        raise ClientError(f"max_batch_size is {most}; give the most images, or 0 for all")
    tag = request.get("label_tag") or DefaultLabelTag.ORIGINAL.value
    if tag == DefaultLabelTag.FINAL:
        raise ClientError("label_tag is final, which people's labels have; give another one, such as original")
    devices = device_map()
    device = torch_device(request.get("device"), devices)
    named = next((name for name, value in devices.items() if value == device), device)
    save = flag("save_label", request.get("save_label", True))
    return {"label_tag": str(tag), "save_label": save, "device": named}


def _infer_one(request: dict[str, Any], datastore: Datastore, infer: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The answer for an image.

    Raises:
        ClientError: what every other image would meet as well.
    """
    try:
        answer = infer(request, datastore)
    except ClientError as error:
        if error.status in _NOT_OF_ONE_IMAGE:
            raise
        return {"error": one_line(error)}
    except Exception as error:  # an image and a bundle's code may raise anything, and the other images go on
        logger.exception("%s", request["image"])
        return {"error": one_line(error)}
    if answer.get("file"):
        Path(answer["file"]).unlink(missing_ok=True)
    return {"label": answer.get("label") if request["save_label"] else None}
