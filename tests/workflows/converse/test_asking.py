"""A question is asked where it is expected to score more than guessing."""

from __future__ import annotations

import pytest

from limner.workflows.converse.asking import Guess, gain_of_asking, shares


def test_the_gain_is_the_difference_of_expected_scores() -> None:
    guesses = [Guess("a", 0.6), Guess("b", 0.4)]
    asked, guessed = 0.9 - 0.2, 0.6 * 0.9 + 0.4 * 0.1
    assert gain_of_asking(guesses, right=0.9, wrong=0.1, price=0.2) == pytest.approx(asked - guessed)


def test_one_reading_is_never_asked_about() -> None:
    assert gain_of_asking([Guess("a", 1.0)]) < 0


def test_equal_readings_are_asked_about_and_clear_ones_are_not() -> None:
    assert gain_of_asking(shares([("a", 1.0), ("b", 1.0)])) > 0
    assert gain_of_asking(shares([("a", 6.0), ("b", 1.0)])) < 0


def test_shares_sum_to_one_and_begin_with_the_likeliest() -> None:
    guesses = shares([("a", 1.0), ("b", 3.0)])
    assert guesses == [Guess("b", 0.75), Guess("a", 0.25)]
