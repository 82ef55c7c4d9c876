"""The data store of a DICOMweb server, by MONAI Label's own settings (``MONAI_LABEL_DICOMWEB_...``)."""

from __future__ import annotations

from dicomweb_client.session_utils import create_session_from_user_pass
from monailabel.config import Settings
from monailabel.datastore.dicom import DICOMwebClientX

from .datastore import BundleNames, DicomLandmarkDatastore, ManyNames


def connect(url: str, settings: Settings, *, bundles: BundleNames, many: ManyNames) -> DicomLandmarkDatastore:
    """The series of a DICOMweb server as images.

    MONAI Label's own way to do so downloads a tool from the internet first, which nothing here needs.

    Args:
        url: of the DICOMweb server, without a slash at the end.
        settings: name and password, prefixes of the three services, search filter (``{"Modality": "CT"}`` if nobody
            chose another one), folder of the cache.
        bundles: the landmark names that labels may use.
        many: those that a label may have any number of.
    """
    user, password = settings.MONAI_LABEL_DICOMWEB_USERNAME, settings.MONAI_LABEL_DICOMWEB_PASSWORD
    client = DICOMwebClientX(
        url=url,
        session=create_session_from_user_pass(user, password) if user and password else None,
        qido_url_prefix=settings.MONAI_LABEL_QIDO_PREFIX,
        wado_url_prefix=settings.MONAI_LABEL_WADO_PREFIX,
        stow_url_prefix=settings.MONAI_LABEL_STOW_PREFIX,
    )
    return DicomLandmarkDatastore(
        client,
        settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER,
        bundles=bundles,
        many=many,
        cache_path=settings.MONAI_LABEL_DICOMWEB_CACHE_PATH.strip() or None,
        fetch_by_frame=settings.MONAI_LABEL_DICOMWEB_FETCH_BY_FRAME,
    )
