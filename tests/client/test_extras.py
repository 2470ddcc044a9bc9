from __future__ import annotations

import importlib
import sys

import pytest

from tumorctl.extras import left_out


@pytest.mark.parametrize("loaded", [False, True])
def test_what_is_left_out_can_be_imported_afterwards(loaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    if loaded:
        importlib.import_module("wave")
    with left_out("wave"), pytest.raises(ModuleNotFoundError):
        importlib.import_module("wave")
    assert ("wave" in sys.modules) is loaded
    importlib.import_module("wave")
