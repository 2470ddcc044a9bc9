"""What goes to the terminal: names as they are, but no control characters, whatever the terminal can show."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper


def printable(text: str) -> str:
    """Text without what a terminal would obey: control characters as their escapes in Python; lines stay."""
    return "\n".join(
        "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)
        for line in text.split("\n")
    )


def printable_name(name: str) -> str:
    """Likewise, on one line: a name with a line break in it is not to pass for two."""
    return printable(name.replace("\n", "\\n"))


def settle_streams() -> None:
    """Let characters that the terminal cannot show be escaped, and let streams that are closed swallow what comes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (open as long as the process)
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
