"""The two networks: a ResNet that finds slices with tumour, a ResUNet that outlines it."""

from tumor_training.networks.classifier import TumorClassifier
from tumor_training.networks.mirrored import Mirrored
from tumor_training.networks.segmenter import TumorSegmenter

__all__ = ["Mirrored", "TumorClassifier", "TumorSegmenter"]
