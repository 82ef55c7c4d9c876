"""The data stores of the app."""

from __future__ import annotations

from .datastore_dicomweb import DicomLandmarkDatastore
from .datastore_local import LocalLandmarkDatastore
from .landmark_labels import BundleNames, LandmarkLabels, ManyNames

__all__ = [
    "BundleNames",
    "DicomLandmarkDatastore",
    "LandmarkLabels",
    "LocalLandmarkDatastore",
    "ManyNames",
]
