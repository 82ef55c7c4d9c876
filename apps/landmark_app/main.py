"""The app that MONAI Label loads: it serves each bundle of a folder as three tasks. Only wiring."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask

from auto_config import __version__
from auto_config.errors import UserError

# One name for the parts, also where this file is loaded from a checkout by its path: MONAI Label would else import them
# as `lib`, which it forgets at each load, and the server's module would meet classes that are not its own.
if importlib.util.find_spec("landmark_app") is None:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from landmark_app.lib.choosing.scoring import LandmarkError
from landmark_app.lib.choosing.strategies import First, Random, Uncertainty
from landmark_app.lib.core.errors import ClientError
from landmark_app.lib.core.requests import tag as checked_tag
from landmark_app.lib.core.served import record
from landmark_app.lib.store.datastore import LandmarkLabels, LocalLandmarkDatastore
from landmark_app.lib.store.dicomweb import connect
from landmark_app.lib.store.images import PICTURE_ENDINGS, require_image
from landmark_app.lib.store.known import Known, known_points
from landmark_app.lib.tasks.batch import LandmarkBatch
from landmark_app.lib.tasks.bundles import EDIT, POINTS, ServedBundle, find_bundles, without_pictures
from landmark_app.lib.tasks.configuration import read_configuration
from landmark_app.lib.tasks.infer import TAGS, LandmarkEdit, LandmarkInfer, LandmarkPoints, first
from landmark_app.lib.training.train import LandmarkTrain

logger = logging.getLogger(__name__)

# What the bundles' readers read; landmark files lie in the same folders and are no images.
IMAGE_PATTERNS = ("*.nii.gz", "*.nii", "*.nrrd", "*.mha")
PICTURE_PATTERNS = tuple(f"*{suffix}" for suffix in PICTURE_ENDINGS)
"""Beside these, where a bundle is for pictures."""


def is_address(studies: str) -> bool:
    """Whether the studies are a DICOMweb server, and no folder."""
    return str(studies).strip().startswith(("http://", "https://"))


def _scale(bundle: ServedBundle, image: Path) -> float:
    """What viewers show of an image for a length of 1 of the bundle; 1 for an image that it does not take."""
    try:
        return bundle.frame(image).scale
    except ClientError:
        return 1.0


class LandmarkApp(MONAILabelApp):
    """Landmark bundles for 3D Slicer and OHIF.

    Args:
        app_dir: folder of the app.
        studies: folder with images, or address of a DICOMweb server.
        conf: what ``--conf`` said; see `read_configuration`.

    Raises:
        MONAILabelException: a choice that is not allowed, or no bundle to serve.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        try:
            self.configuration = read_configuration(conf)
            self.bundles, self.broken = find_bundles(self.configuration.bundles, self.configuration.models)
            if is_address(studies):
                self.bundles, pictures = without_pictures(self.bundles)
                self.broken |= pictures
        except UserError as error:
            raise MONAILabelException(MONAILabelError.APP_INIT_ERROR, str(error)) from error
        for name, reason in self.broken.items():
            logger.error("bundle %s is not served: %s", name, reason)
        super().__init__(
            app_dir,
            studies,
            conf,
            name="Landmarks",
            description="Finds anatomical landmarks, takes corrections back and learns from them",
            version=__version__,
        )
        # Else each request for the next image would start a process that scores all labels anew.
        self._auto_update_scoring = False

    def init_datastore(self) -> Datastore:
        """The images of a folder, or of a DICOMweb server."""
        # Not a person's choice, and read in many places: MONAI Label's own list has pictures, and no MetaImage.
        pictures = any(bundle.card.spatial_dims == 2 for bundle in self.bundles.values())
        settings.MONAI_LABEL_DATASTORE_FILE_EXT = [*IMAGE_PATTERNS, *(PICTURE_PATTERNS if pictures else ())]
        studies = str(self.studies).strip()
        if is_address(studies):
            return connect(studies.rstrip("/"), settings, bundles=self._landmark_names, many=self._many_names)
        return LocalLandmarkDatastore(
            studies,
            bundles=self._landmark_names,
            many=self._many_names,
            extensions=settings.MONAI_LABEL_DATASTORE_FILE_EXT,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
            follow_links=self.configuration.follow_links,
        )

    def init_infers(self) -> dict[str, InferTask]:
        """NAME, NAME_edit and NAME_points for each bundle."""
        tasks: dict[str, InferTask] = {}
        device = self.configuration.device
        for name, bundle in self.bundles.items():
            tasks[name] = LandmarkInfer(bundle, device)
            tasks[name + EDIT] = LandmarkEdit(bundle, self._known, device)
            tasks[name + POINTS] = LandmarkPoints(bundle, self.configuration.points_format, device)
        return tasks

    def init_trainers(self) -> dict[str, TrainTask]:
        """NAME for each bundle that says how it is trained; some are shared for inference alone."""
        return {
            name: LandmarkTrain(bundle, self.configuration.device)
            for name, bundle in self.bundles.items()
            if (bundle.root / "configs" / "train.json").is_file()
        }

    def init_strategies(self) -> dict[str, Strategy]:
        """Ways to choose the image to annotate next."""
        return {"random": Random(), "first": First(), "uncertainty": Uncertainty()}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """How far people had to move what the bundles found."""
        return {"landmark_error": LandmarkError()}

    def init_batch_infer(self) -> LandmarkBatch:
        """Inference of many images."""
        return LandmarkBatch()

    def info(self) -> dict[str, Any]:
        """As the base class, and which bundles there are and what is wrong with them."""
        bundles: dict[str, Any] = {
            name: {"version": bundle.card.version, "trained": bundle.trained, "error": bundle.error}
            for name, bundle in self.bundles.items()
        }
        bundles |= {name: {"version": None, "trained": False, "error": error} for name, error in self.broken.items()}
        return {**super().info(), "bundles": bundles}

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Answer a request for landmarks.

        Args:
            request: ``model`` names a task; ``image`` is an id of the data store, or the file of an upload in the
                folder of sessions; the rest are the task's options.
            datastore: other than the app's own.

        Returns:
            ``file``, a temporary one that the caller removes; ``params``, the JSON part; ``label``, the id of the saved
            label or else the file; ``tag``.

        Raises:
            ClientError: an unknown model or image, an option that is not allowed, or what the task raises.
        """
        store = datastore or self.datastore()
        model = request.get("model")
        if not isinstance(model, str) or model not in self._infers:
            raise ClientError(f"there is no model '{model}'; there are {', '.join(self._infers)}", HTTPStatus.NOT_FOUND)
        tag = checked_tag(first(request.get("label_tag")) or TAGS[0])
        image_id, path = self._image(request.get("image"), store)
        task = self._infers[model]
        file, params = task({**request, "image": str(path), "image_id": image_id})
        label = file
        try:
            if image_id is not None and isinstance(store, LandmarkLabels):
                self._record(store, image_id, model, params, task.clicks(request))
            if image_id is not None and request.get("save_label") is True:
                label = store.save_label(image_id, file, tag, {"model": model, "params": params})
        except Exception:
            Path(file).unlink(missing_ok=True)  # there is no answer that would tell the caller to remove it
            raise
        return {"label": label, "tag": tag, "file": file, "params": params}

    def _record(
        self,
        store: LandmarkLabels,
        image_id: str,
        model: str,
        params: dict[str, Any],
        clicks: dict[str, list[list[float]]],
    ) -> None:
        """Keep what is served, so that it is known when it comes back."""
        # An edit of a saved label knows of an absent landmark only that it is absent; any place will do then.
        placed = [{**item, "world": item["world"] or [0.0] * 3} for item in params["landmarks"]]
        verdict = str((params.get("verdict") or {}).get("verdict", ""))
        radius = params["ball_radius_mm"]
        record(store.landmark_folder(), image_id, model, placed, radius, clicks=clicks, verdict=verdict)

    def _landmark_names(self) -> dict[str, tuple[str, ...]]:
        """The landmarks of each bundle as they are now."""
        return {name: bundle.card.names for name, bundle in self.bundles.items()}

    def _many_names(self, image: Path | None) -> dict[str, float]:
        """The landmarks of which an image may have any number; of two bundles' distances the smaller one counts."""
        many: dict[str, float] = {}
        for bundle in self.bundles.values():
            scale = _scale(bundle, image) if bundle.card.many and image else 1.0
            for name, distance in bundle.card.many.items():
                many[name] = min(distance * scale, many.get(name, distance * scale))
        return many

    def _known(self, image_id: str, names: Sequence[str]) -> Known:
        """What is known of the landmarks of an image of the app's own data store."""
        store = self.datastore()
        return known_points(store, image_id, names) if isinstance(store, LandmarkLabels) else Known()

    def _image(self, image: Any, store: Datastore) -> tuple[str | None, Path]:
        """The id, None for an upload, and the file of the image of a request."""
        if not isinstance(image, str) or not image:
            raise ClientError("no image is given; give the id of an image of the data store")
        sessions = self.sessions()
        if sessions is not None and Path(image).is_absolute():
            path = Path(image).resolve()
            if path.is_relative_to(Path(sessions.store_path).resolve()) and path.is_file():
                return None, path
        require_image(store, image)
        return image, Path(store.get_image_uri(image))
