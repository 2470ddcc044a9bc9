"""Find brain tumours in MRI slices. Research use only."""

__version__ = "0.1.0"
