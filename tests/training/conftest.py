"""Fixtures of the training's tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# A busy machine is slow now and then: that fails no test.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def _same_numbers(one_thread: None) -> None:
    torch.manual_seed(0)


@pytest.fixture
def own_patients(made_patients: Path, tmp_path: Path) -> Path:
    """A copy of the made-up patients that a test may damage."""
    return Path(shutil.copytree(made_patients, tmp_path / "kaggle_3m"))
