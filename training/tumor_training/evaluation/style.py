"""How plots look: colours that colour-blind readers can tell apart, with a shape of their own each."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tumorctl.errors import OutputError
from tumorctl.outputs.files import write_whole

# Okabe & Ito 2008, without black and yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
INK = "#333333"
PALE = "#BBBBBB"
_DPI = 150
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each name; after the last colour they repeat with other markers."""
    count, shapes = len(COLOURS), len(MARKERS)
    return {
        name: {"color": COLOURS[index % count], "marker": MARKERS[(index + index // count) % shapes]}
        for index, name in enumerate(sorted(set(names)))
    }


@contextmanager
def picture(path: Path, width: float, height: float, columns: int = 1) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure to draw on, which is written as PNG in the end.

    Args:
        path: where to.
        width: in inches.
        height: in inches.
        columns: how many axes stand side by side.

    Yields:
        The figure and its axes.

    Raises:
        OutputError: it could not be written.
    """
    with rc_context(_STYLE):
        made = Figure(figsize=(width, height), layout="constrained")
        # Drawing needs no display and no state shared with other figures.
        FigureCanvasAgg(made)
        yield made, list(made.subplots(1, columns, squeeze=False)[0])
        buffer = io.BytesIO()
        made.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": "tumorctl"})
    write_whole(path, buffer.getvalue())


def remove(paths: Iterable[Path]) -> None:
    """Remove pictures of an earlier run, which would pass for ones of this.

    Raises:
        OutputError: one could not be removed.
    """
    try:
        for path in paths:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"pictures of an earlier run cannot be removed ({error.strerror})") from error
