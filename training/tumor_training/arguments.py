"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataFolder = Annotated[
    Path, typer.Argument(metavar="DATA", help="Folder in the Kaggle layout: one folder of slices per patient.")
]
SplitFile = Annotated[
    Path | None, typer.Option("--split", metavar="FILE", help="Split file; by default the committed LGG split.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

PURPOSE = "training and evaluation"
