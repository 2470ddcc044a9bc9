"""Judging the shipped networks on labelled patients: figures with intervals, plots, the model card."""
