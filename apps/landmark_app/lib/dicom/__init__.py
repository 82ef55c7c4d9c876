"""Series of a DICOMweb server as volumes, and landmarks as DICOM objects."""
