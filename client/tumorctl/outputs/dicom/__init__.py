"""Results as DICOM objects: segmentation, structured report, secondary capture."""
