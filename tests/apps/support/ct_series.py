"""A small CT series, and a DICOMweb server in memory that answers as a client of the real one does."""

import io

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

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
    """The instances of a CT series."""
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    instances = []
    for number in range(slices):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        one.is_little_endian, one.is_implicit_VR = True, False
        one.SpecificCharacterSet = "ISO_IR 100"
        one.SOPClassUID, one.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
        one.PatientName, one.PatientID, one.PatientBirthDate, one.PatientSex = patient, "p1", "19700101", "O"
        one.StudyDate, one.StudyTime, one.StudyID, one.AccessionNumber = "20260101", "120000", "1", ""
        one.ReferringPhysicianName, one.Modality, one.SeriesNumber = "", "CT", 1
        one.InstanceNumber = number + 1
        one.Rows, one.Columns, one.PixelSpacing, one.SliceThickness = ROWS, COLUMNS, list(SPACING), STEP
        one.ImageOrientationPatient = [*ALONG_ROW.tolist(), *ALONG_COLUMN.tolist()]
        one.ImagePositionPatient = lps(0, 0, number).tolist()
        one.ImageType, one.PositionReferenceIndicator = ["ORIGINAL", "PRIMARY", "AXIAL"], ""
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.RescaleSlope, one.RescaleIntercept = 1, 0
        one.PixelData = np.full((ROWS, COLUMNS), number, np.int16).tobytes()
        instances.append(one)
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
