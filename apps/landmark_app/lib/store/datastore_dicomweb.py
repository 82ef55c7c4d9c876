"""The data store for a DICOMweb server: images are series, their ids are Series Instance UIDs."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dicomweb_client import DICOMwebClient
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.utils.convert import dicom_to_nifti
from monailabel.datastore.utils.dicom import dicom_web_download_series
from pydicom.dataset import Dataset

from auto_config.bundle_scripts.points.landmark_files import write_markups

from ..core.errors import ClientError
from ..core.served import served
from ..dicom.dicom_objects import (
    SERIES_DESCRIPTION,
    LandmarkReport,
    is_landmark_report,
    read_report,
    worst_verdict,
    write_balls,
    write_report,
)
from ..dicom.dicom_series import read_slices
from ..labels.label_forms import ClientLabel
from .datastore_index import new_entry
from .label_files import CANONICAL_ENDING
from .landmark_labels import FINAL, BundleNames, LandmarkLabels, ManyNames, none_many

logger = logging.getLogger(__name__)

BALL_RADIUS_MM = 3.0
"""Radius of the balls of a segmentation where nothing was served for the image."""
_LIST_SECONDS = 60.0
_ENDING = ".nii.gz"


class DicomLandmarkDatastore(LandmarkLabels, DICOMWebDatastore):
    """Series of a DICOMweb server, with a local cache of the images; the labels are kept locally.

    A ``final`` label is also written to the DICOMweb server, as a report and as a segmentation (`dicom_objects`). A
    server that starts with an empty cache finds the labels again in the reports.

    Args:
        client: Of the DICOMweb server.
        search_filter: What series are images, by DICOM keywords (``{"Modality": "CT"}``).
        bundles: The landmark names that labels may use.
        many: Those that a label may have any number of.
        cache_path: Folder of the cache; MONAI Label's own if None.
        fetch_by_frame: Whether to fetch pixels frame by frame, for servers that cannot send whole instances.
    """

    def __init__(
        self,
        client: DICOMwebClient,
        search_filter: Mapping[str, Any],
        *,
        bundles: BundleNames,
        many: ManyNames = none_many,
        cache_path: str | None = None,
        fetch_by_frame: bool = False,
    ) -> None:
        self._listed: tuple[float, list[str]] = (0.0, [])
        super().__init__(
            bundles=bundles,
            many=many,
            client=client,
            search_filter=dict(search_filter),
            cache_path=cache_path,
            fetch_by_frame=fetch_by_frame,
        )
        self.restore_labels()

    # -------------------------------------------------------- images

    def list_images(self) -> list[str]:
        """Ids of the series that the search filter finds; asked again after a minute.

        Raises:
            ClientError: The DICOM server does not answer (502) and never did.
        """
        asked, images = self._listed
        if asked and time.monotonic() - asked <= _LIST_SECONDS:
            return list(images)
        try:
            found = self._client.search_for_series(search_filters=self._search_filter)
        except Exception as error:  # of the network or of the server
            logger.exception("the DICOM server did not say which series it has")
            if not images:
                raise ClientError("the DICOM server does not answer; try again when it does", 502) from error
        else:
            images = [str(Dataset.from_json(one).SeriesInstanceUID) for one in found]
        self._listed = (time.monotonic(), images)
        return list(images)

    def require_image(self, image_id: str) -> None:
        """Raise a ClientError (404) for a series that the server does not have; one that is new is found at once."""
        if image_id not in self.list_images():
            self._listed = (0.0, self._listed[1])
        super().require_image(image_id)

    def get_image_uri(self, image_id: str) -> str:
        """The file of an image in the cache, fetched and converted if it is not there; whole or not there at all."""
        target = Path(self._datastore.image_path()).resolve() / f"{image_id}{_ENDING}"
        if target.is_file() and image_id in self._datastore.objects:
            return str(target)
        self.require_image(image_id)
        if not target.is_file():
            converted = Path(dicom_to_nifti(str(self.series_folder(image_id))))
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".image-") as folder:
                shutil.move(converted, Path(folder) / target.name)
                (Path(folder) / target.name).replace(target)
        info = self._dicom_info(image_id)
        with self._changed_index() as index:
            index.objects.setdefault(image_id, new_entry(image_id, _ENDING, info))
        return str(target)

    def series_folder(self, image_id: str) -> Path:
        """The folder of the DICOM files of an image in the cache, fetched if it is not there."""
        target = Path(self._datastore.image_path()).resolve() / image_id
        if not target.is_dir():
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".series-") as folder:
                dicom_web_download_series(None, image_id, str(Path(folder) / "s"), self._client, self._fetch_by_frame)
                (Path(folder) / "s").rename(target)
        return target

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """As the base class; an image that is not in the cache yet is fetched."""
        if image_id not in self._datastore.objects:
            self.get_image_uri(image_id)
        super().update_image_info(image_id, info)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any] | None) -> str:  # noqa: ARG002
        """Refused: images come from the DICOMweb server."""
        raise ClientError(f"image {image_id!r} is not taken here; send the series to the DICOM server")

    def remove_image(self, image_id: str) -> None:
        """Refused: images are the DICOMweb server's."""
        raise ClientError(f"image {image_id!r} is not removed from here; remove the series from the DICOM server")

    # -------------------------------------------------------- labels

    def stored(self, image_id: str, tag: str, label: ClientLabel) -> None:
        """Write a final label to the DICOMweb server.

        Raises:
            ClientError: The server did not take it (502); the label stays stored here.
        """
        if tag != FINAL:
            return
        records = served(self.landmark_folder(), image_id)
        radius = records[0].radius_mm if records else BALL_RADIUS_MM
        try:
            slices = read_slices(self.series_folder(image_id))
            report = write_report(
                label.landmarks,
                slices,
                confidence=label.confidence,
                radius_mm=label.radius_mm,
                verdict=label.verdict,
            )
            balls = write_balls(label.landmarks, slices, radius, verdict=worst_verdict(label.verdict.values()))
            objects = [report] if balls is None else [report, balls]
            answer = self._client.store_instances(objects)
            if answer is not None and answer.get("FailedSOPSequence"):
                raise RuntimeError(f"refused {len(answer.FailedSOPSequence)} of {len(objects)} objects")
        except Exception as error:  # of the network, of the server, of what the series lacks
            logger.exception("the label of image %s could not be written to the DICOM server", image_id)
            self.label_files.update_info(image_id, tag, {"dicom": {"error": type(error).__name__}})
            raise ClientError(
                f"the label of image {image_id!r} is stored here, but the DICOM server did not take it; "
                "send it again when the server answers",
                502,
            ) from error
        series = {str(one.Modality): str(one.SeriesInstanceUID) for one in objects}
        self.label_files.update_info(image_id, tag, {"dicom": series})

    def restore_labels(self) -> list[str]:
        """Take final labels that are not here from the reports of the DICOMweb server.

        Returns:
            The ids of the images whose label was found; none, with a line in the log, where the server does not answer.
        """
        try:
            wanted = {one for one in self.list_images() if not self.canonical_path(one, FINAL).is_file()}
            newest: dict[str, LandmarkReport] = {}
            for report in self._reports() if wanted else []:
                known = newest.get(report.series)
                if report.series in wanted and (known is None or report.written > known.written):
                    newest[report.series] = report
        except Exception:
            logger.exception("labels were not looked for on the DICOM server, which does not answer as it should")
            return []
        for image_id, report in newest.items():
            info = {
                "form": "report",
                "confidence": dict(report.confidence),
                "radius_mm": dict(report.radius_mm),
                "verdict": dict(report.verdict),
            }
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"report{CANONICAL_ENDING}"
                write_markups(path, report.landmarks, node_name=image_id)
                self.label_files.save(
                    image_id, FINAL, path, ending=CANONICAL_ENDING, landmarks=report.landmarks, info=info
                )
        return sorted(newest)

    def _reports(self) -> list[LandmarkReport]:
        """The reports of landmarks on the DICOMweb server; one that is damaged is left out."""
        filters = {"Modality": "SR", "SeriesDescription": SERIES_DESCRIPTION}
        found = [Dataset.from_json(one) for one in self._client.search_for_series(search_filters=filters)]
        instances = (
            instance
            for series in found
            if series.get("SeriesDescription", SERIES_DESCRIPTION) == SERIES_DESCRIPTION  # some ignore the filter
            for instance in self._client.retrieve_series(str(series.StudyInstanceUID), str(series.SeriesInstanceUID))
        )
        return [report for report in map(_readable, instances) if report is not None]


def _readable(instance: Dataset) -> LandmarkReport | None:
    """The report in a dataset, None in any other or a damaged one."""
    if not is_landmark_report(instance):
        return None
    try:
        return read_report(instance)
    except ValueError as error:
        logger.warning("a report on the DICOM server is left out: %s", error)
        return None
