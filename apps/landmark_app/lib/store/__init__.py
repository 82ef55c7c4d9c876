"""The images and labels of a folder or of a DICOMweb server, and what is known of them."""
