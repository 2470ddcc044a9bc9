from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tumorctl

HEAVY = (
    "grpc",
    "highdicom",
    "nibabel",
    "numpy",
    "onnxruntime",
    "openvino",
    "PIL",
    "pydantic",
    "pydicom",
    "rich.console",
    "scipy",
    "SimpleITK",
    "torch",
    "tritonclient",
)


@pytest.mark.parametrize(
    "statement",
    [
        "import tumorctl",
        "import tumorctl; tumorctl.TumorClient",
        "import tumorctl; tumorctl.ClientOptions(), tumorctl.TumorctlError",
        "import tumorctl.cli.main as main; main._add_other_halves()",
    ],
)
def test_heavy_libraries_wait_until_they_are_used(statement: str) -> None:
    program = f"{statement}\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert loaded.stdout.strip() == "[]"


def test_public_names_resolve() -> None:
    for name in tumorctl.__all__:
        assert getattr(tumorctl, name) is not None
    assert set(tumorctl.__all__) <= set(dir(tumorctl))
    with pytest.raises(AttributeError, match="no_such_name"):
        tumorctl.no_such_name  # noqa: B018


def test_lazy_table_and_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(tumorctl.__file__).read_text("utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    mirrored = {
        alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert mirrored == tumorctl._MODULE_OF
    assert set(tumorctl.__all__) == {*mirrored, "__version__"}


def test_imports_flow_one_way() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [linter, "--no-cache"], cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout
