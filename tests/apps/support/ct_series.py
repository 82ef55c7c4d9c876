"""A small CT series, and a DICOMweb server in memory that answers as a client of the real one does."""

import io

import nibabel as nib
import numpy as np
import pydicom
from dicom_series import ct_series
from pydicom.dataset import Dataset

ROWS, COLUMNS, SLICES = 20, 24, 12
# Directions of rows and columns in LPS, turned about z; slices upward.
ANGLE = np.deg2rad(15)
ALONG_ROW = np.array([np.cos(ANGLE), np.sin(ANGLE), 0.0])
ALONG_COLUMN = np.array([-np.sin(ANGLE), np.cos(ANGLE), 0.0])
SPACING = (1.5, 2.0)  # between rows, between columns
STEP = 2.5
ORIGIN = np.array([-30.0, 40.0, 100.0])


def lps(column, row, number):
    """LPS mm of a voxel."""
    return (
        ORIGIN
        + column * SPACING[1] * ALONG_ROW
        + row * SPACING[0] * ALONG_COLUMN
        + number * STEP * np.array([0, 0, 1.0])
    )


def ras(column, row, number):
    """RAS mm of a voxel."""
    return lps(column, row, number) * [-1, -1, 1]


def make_series(patient="Müller^Äpfel", slices=SLICES):
    """The instances of a CT series, whose voxels are the numbers of their slices."""
    affine = np.eye(4)
    affine[:3] = np.stack([SPACING[1] * ALONG_ROW, SPACING[0] * ALONG_COLUMN, [0.0, 0.0, STEP], ORIGIN], axis=1)
    voxels = np.broadcast_to(np.arange(slices, dtype=np.int16), (COLUMNS, ROWS, slices))
    instances = ct_series(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine), patient)
    for one in instances:
        # A name needs its character set, and says whose the report is, with the rest of what is known of a patient.
        one.SpecificCharacterSet, one.PatientID = "ISO_IR 100", "p1"
        one.PatientBirthDate, one.PatientSex = "19700101", "O"
    return instances


def copied(dataset):
    """A dataset as it comes out of a file."""
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, write_like_original=False)
    stream.seek(0)
    return pydicom.dcmread(stream)


class MemoryPacs:
    """What the data store uses of a DICOMweb client."""

    base_url = "http://pacs.invalid/dicom-web"

    def __init__(self, *instances):
        self.instances = [copied(one) for one in instances]
        self.fail = None

    def search_for_series(self, search_filters=None):
        if self.fail:
            raise self.fail
        series = {}
        for one in self.instances:
            if all(str(one.get(key, "")) == value for key, value in (search_filters or {}).items()):
                series.setdefault(str(one.SeriesInstanceUID), one)
        keys = ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesDescription", "PatientID", "StudyDate")
        answers = []
        for one in series.values():
            answer = Dataset()
            for key in keys:
                if key in one:
                    setattr(answer, key, one.get(key))
            answers.append(answer.to_json_dict())
        return answers

    def retrieve_series(self, study, series):
        if self.fail:
            raise self.fail
        return [one for one in self.instances if (one.StudyInstanceUID, one.SeriesInstanceUID) == (study, series)]

    def store_instances(self, datasets):
        if self.fail:
            raise self.fail
        self.instances += [copied(one) for one in datasets]
        return Dataset()

    def of(self, modality):
        return [one for one in self.instances if one.Modality == modality]
