"""A CT series made from a volume, as a scanner would send it."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def right_handed(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """The image with its slices turned around if needed, so that they advance along rows x columns.

    Readers sort the slices of a series along that normal; then the voxel (i, j, k) of the image is that of the series.
    """
    if np.linalg.det((np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine)[:3, :3]) > 0:
        return image
    flip = np.diag([1.0, 1.0, -1.0, 1.0])
    flip[2, 3] = image.shape[2] - 1
    return nib.Nifti1Image(np.asanyarray(image.dataobj)[:, :, ::-1], image.affine @ flip)


def ct_series(image: nib.Nifti1Image, patient: str) -> list[Dataset]:
    """One instance per slice of a `right_handed` image of integers in -32768..32767.

    Voxel (i, j, k) of the image is column i, row j of slice k; places are LPS mm, as DICOM has them.
    """
    voxels = np.asanyarray(image.dataobj).astype("<i2")
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    row, column = lps[:3, 0] / spacing[0], lps[:3, 1] / spacing[1]
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    instances = []
    for k in range(voxels.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        # Without the preamble a server keeps bytes that no reader takes for DICOM.
        ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        ds.is_little_endian, ds.is_implicit_VR = True, False
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.PatientID = ds.PatientName = patient
        ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20200101", "120000", "1", "1"
        ds.PatientBirthDate, ds.PatientSex, ds.ReferringPhysicianName = "", "", ""
        ds.Modality, ds.SeriesNumber, ds.InstanceNumber, ds.SeriesDescription = "CT", 1, k + 1, "CT"
        ds.Manufacturer, ds.PositionReferenceIndicator, ds.ImageType = "", "", ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.ImageOrientationPatient = [round(float(value), 10) for value in (*row, *column)]
        place = lps @ [0, 0, k, 1]
        ds.ImagePositionPatient = [round(float(value), 6) for value in place[:3]]
        ds.PixelSpacing = [round(float(spacing[1]), 8), round(float(spacing[0]), 8)]
        ds.SliceThickness = round(float(spacing[2]), 8)
        ds.Rows, ds.Columns = voxels.shape[1], voxels.shape[0]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "HU"
        ds.WindowCenter, ds.WindowWidth = 400, 2400
        ds.PixelData = np.ascontiguousarray(voxels[:, :, k].T).tobytes()
        instances.append(ds)
    return instances
