"""When to ask back: a question is worth its price only where guessing is likely enough to go wrong.

A turn that does what was meant scores RIGHT, one that does something else WRONG, and a question costs PRICE. With the
probability p of the likeliest reading, guessing is expected to score p * RIGHT + (1 - p) * WRONG, and asking
RIGHT - PRICE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

RIGHT, WRONG = 0.8, 0.01
"""Share of sentences that the picture fulfils, by the judge, where the right reading is followed and where another one
is: `asking` in results/conversation.json."""
PRICE = 0.2
"""Price of a question, in the same unit: chosen, not measured. A question is asked where guessing goes wrong with a
probability above PRICE / (RIGHT - WRONG), about a quarter."""


@dataclass(frozen=True)
class Guess(Generic[T]):
    """A reading with its probability."""

    reading: T
    probability: float


def shares(weights: Sequence[tuple[T, float]]) -> list[Guess[T]]:
    """Readings with weights as guesses, whose probabilities sum to 1; the likeliest first."""
    total = sum(weight for _, weight in weights)
    guesses = [Guess(reading, weight / total) for reading, weight in weights]
    return sorted(guesses, key=lambda guess: -guess.probability)


def gain_of_asking(
    guesses: Sequence[Guess[T]], *, right: float = RIGHT, wrong: float = WRONG, price: float = PRICE
) -> float:
    """How much more asking is expected to score than following the likeliest guess."""
    if len(guesses) < 2:
        return -price
    best = max(guess.probability for guess in guesses)
    return (right - price) - (best * right + (1 - best) * wrong)
