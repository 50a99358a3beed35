"""A hundred inputs of each kind: no foreign exception, no unnoticed change, no hang, no memory without bound."""

from __future__ import annotations

import os

import pytest

from .counting import AIMS, count
from .kinds import KINDS, Place

CASES = int(os.environ.get("LIMNER_FUZZ", "100"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("name", KINDS)
def test_hostile_input_ends_in_a_clear_error_or_in_what_was_meant(name: str, place: Place) -> None:
    found = count(name, KINDS[name](place), CASES)
    assert found.inputs == CASES
    assert not any(found.counts[aim] for aim in AIMS), "\n".join(found.examples)
    assert found.counts["clear errors"]  # else nothing was damaged
