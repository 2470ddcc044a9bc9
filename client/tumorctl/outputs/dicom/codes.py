"""The words of the DICOM objects: coded concepts, labels, series."""

from __future__ import annotations

from typing import Final

from highdicom.sr import CodedConcept
from pydicom.sr.coding import Code

from tumorctl.contract import SHORT_NOTICE
from tumorctl.core.measurements import Laterality

COMMENT: Final = (
    f"{SHORT_NOTICE}. Not a medical device. Made by software, not verified by a physician. "
    "Do not base any decision about a patient on it."
)
NAME: Final = "tumorctl"

ABNORMAL_STRUCTURE: Final = Code("49755003", "SCT", "Morphologically Abnormal Structure")
NEOPLASM: Final = Code("108369006", "SCT", "Neoplasm")
BRAIN: Final = Code("12738006", "SCT", "Brain")
ARTIFICIAL_INTELLIGENCE: Final = Code("123110", "DCM", "Artificial Intelligence")
MR_BRAIN: Final = Code("24590-2", "LN", "MR Brain")
ABSENT: Final = Code("272519000", "SCT", "Absent")
DEVICE: Final = CodedConcept("121007", "DCM", "Device")
COMMENT_NAME: Final = Code("121106", "DCM", "Comment")

VOLUME: Final = Code("118565006", "SCT", "Volume")
LONG_AXIS: Final = Code("103339001", "SCT", "Long axis")
SHORT_AXIS: Final = Code("103340004", "SCT", "Short axis")
PROBABILITY: Final = Code("122157", "DCM", "Probability")
CENTER_OF_MASS: Final = Code("128138", "DCM", "Center of Mass")

MILLILITER: Final = Code("ml", "UCUM", "milliliter")
MILLIMETER: Final = Code("mm", "UCUM", "millimeter")
NO_UNITS: Final = Code("1", "UCUM", "no units")

LATERALITY: Final = {
    Laterality.left: Code("7771000", "SCT", "Left"),
    Laterality.right: Code("24028007", "SCT", "Right"),
    Laterality.bilateral: Code("51440002", "SCT", "Bilateral"),
    Laterality.midline: Code("260528009", "SCT", "Median"),
}

SEGMENT_LABEL: Final = "FLAIR abnormality (T2 hyperintensity)"
TRACKING_ID: Final = "tumorctl tumour"

SEG_SERIES: Final = (9301, f"{SHORT_NOTICE} - tumour outline")
SR_SERIES: Final = (9302, f"{SHORT_NOTICE} - tumour measurements")
SC_SERIES: Final = (9303, f"{SHORT_NOTICE} - tumour overlay")
"""Series number and description."""
