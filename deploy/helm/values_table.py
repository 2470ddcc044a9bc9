"""Writes the table of values in the chart's README.md from values.yaml and values.schema.json.

python deploy/helm/values_table.py [--check]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "tumorctl"
BEGIN, END = "<!-- values: made by deploy/helm/values_table.py -->\n", "<!-- end of values -->\n"


def rows(values: Any, part: dict[str, Any], definitions: dict[str, Any], path: str = "") -> Iterator[str]:
    """Table rows of one part of the values, depth first, in the order of values.yaml."""
    description = part.get("description", "")
    for reference in part.get("allOf", []):
        if "$ref" in reference:
            part = definitions[reference["$ref"].rpartition("/")[2]] | {"description": description}
    if "properties" in part:
        if path:
            yield f"| **`{path}`** | | {description} |"
        for key, value in values.items():
            yield from rows(value, part["properties"][key], definitions, f"{path}.{key}".lstrip("."))
        return
    yield f"| `{path}` | `{json.dumps(values)}` | {choices(part)}{description} |"
    item = part.get("items", {})
    if path == "gpuClasses":
        for key, field in definitions[item["$ref"].rpartition("/")[2]]["properties"].items():
            yield f"| `{path}[].{key}` | | {field['description']} |"


def choices(part: dict[str, Any]) -> str:
    """The values that an enumeration allows."""
    return f"{', '.join(f'`{choice}`' for choice in part['enum'])}: " if "enum" in part else ""


def table() -> str:
    """The table as Markdown."""
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    lines = ["| value | default | what it does |", "|---|---|---|", *rows(values, schema, schema["definitions"])]
    return "\n".join(lines) + "\n"


def main(check: bool) -> int:
    """Write, or compare; 1 where the file differs."""
    readme = CHART / "README.md"
    text = readme.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    made = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if check:
        if made != text:
            print(f"{readme} is out of date: run python deploy/helm/values_table.py", file=sys.stderr)  # noqa: T201
        return int(made != text)
    readme.write_text(made, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
