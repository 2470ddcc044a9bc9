"""Names, shapes and limits that the client, the networks and the served models agree on.

Nothing here imports anything: every other module may import this one.
"""

from __future__ import annotations

from typing import Final

NOTICE: Final = "Research use only. Not a medical device."
"""What every summary of results says."""
SHORT_NOTICE: Final = "RESEARCH USE ONLY"
"""What is burned into pictures and stands in the names of DICOM results."""

ENSEMBLE: Final = "tumor_detection"
CLASSIFIER: Final = "tumor_classifier"
GATE: Final = "segmentation_gate"
SEGMENTER: Final = "tumor_segmenter"
MODELS: Final = (ENSEMBLE, CLASSIFIER, GATE, SEGMENTER)
NETWORKS: Final = (CLASSIFIER, SEGMENTER)

IMAGE: Final = "IMAGE"
TUMOR_PROBABILITY: Final = "TUMOR_PROBABILITY"
SEGMENTED: Final = "SEGMENTED"
MASK: Final = "MASK"
MASK_PROBABILITY: Final = "MASK_PROBABILITY"

GATE_THRESHOLD_PARAMETER: Final = "gate_threshold"
MASK_THRESHOLD_PARAMETER: Final = "mask_threshold"

SIDE: Final = 256
"""Height and width, in pixels, that the networks see."""
CHANNELS: Final = 3
CHANNEL_NAMES: Final = ("T1 pre-contrast", "FLAIR", "T1 post-contrast")
FLAIR_CHANNEL: Final = 1
MAX_BATCH_SIZE: Final = 64

MIN_SLICE_SIDE: Final = 32
"""Smallest height or width, in pixels, of a slice that is read."""
MAX_SLICE_PIXELS: Final = 4096 * 4096
"""Largest number of pixels of a slice that is read."""
