"""Reading DICOM studies; needs the extra ``clinical``."""
