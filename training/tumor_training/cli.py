"""`tumorctl train` and `tumorctl data`. Imports torch only when a run starts."""

from __future__ import annotations

import json
import logging
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from tumorctl.extras import needs_extra

train_app = typer.Typer(help="Train a network on the LGG data set.", no_args_is_help=True)
data_app = typer.Typer(help="Check a data set and split it by patient.", no_args_is_help=True)

DataFolder = Annotated[Path, typer.Argument(help="Folder in the Kaggle layout: one folder per patient.")]


class NetworkName(str, Enum):
    """The two networks."""

    classifier = "classifier"
    segmenter = "segmenter"
