"""From the series of a study to the slices that the networks know, and from their masks back to the FLAIR."""
