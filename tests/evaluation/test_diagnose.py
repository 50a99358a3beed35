"""Every label from its signs, and none where the intervals do not bear it out."""

from __future__ import annotations

import typing

import pytest

from limner.evaluation.diagnose import ADVICE, Label, Range, Signs, diagnose

HIGH, LOW, WIDE = Range(0.8, 0.7, 0.9), Range(0.2, 0.1, 0.3), Range(0.6, 0.3, 0.9)


@pytest.mark.parametrize(
    ("label", "signs"),
    [
        ("balanced", Signs(HIGH, HIGH, leak=0.0)),
        ("overfit", Signs(HIGH, LOW, copy=0.2)),
        ("overfit", Signs(HIGH, HIGH, obeyed=0.3)),
        ("balanced", Signs(HIGH, HIGH, obeyed=0.8)),
        ("memorised", Signs(HIGH, LOW, copy=0.9)),
        ("leaky background", Signs(HIGH, HIGH, leak=0.4)),
        ("leaky background", Signs(HIGH, LOW, copy=0.2, leak=0.4, masked_gain=-0.1)),
        ("underfit", Signs(LOW, HIGH)),
        ("mode collapse", Signs(LOW, LOW, sensitivity=0.0, variety=0.05)),
        ("image collapse", Signs(LOW, LOW, quality=0.3)),
        ("image collapse", Signs(HIGH, HIGH, quality=0.76)),  # noise that an encoder of likeness is taken in by
        ("image collapse", Signs(WIDE, HIGH, quality=0.5, copy=0.9, leak=0.4)),
        ("balanced", Signs(HIGH, HIGH, quality=0.8)),
        ("drift", Signs(LOW, LOW, sensitivity=0.9, variety=1.0, quality=0.95)),
        ("undetermined", Signs(WIDE, HIGH)),
        ("undetermined", Signs(HIGH, WIDE)),
    ],
)
def test_labels(label: str, signs: Signs) -> None:
    found = diagnose(signs)
    assert found.label == label
    assert found.meaning in str(found)
    assert found.because[0].startswith("F ")


def test_a_leak_of_the_whole_picture_alone_is_no_leak_of_the_background() -> None:
    assert diagnose(Signs(HIGH, HIGH, leak=0.4, masked_gain=0.1)).label == "balanced"


def test_every_label_has_a_meaning_and_something_to_try() -> None:
    assert set(ADVICE) == set(typing.get_args(Label))
    assert all(meaning.endswith(".") and advice.endswith(".") for meaning, advice in ADVICE.values())
