"""`limner words`."""

from __future__ import annotations

import argparse
from typing import Any

from .common import out
from .flags import add_command


def add_to(commands: Any) -> None:
    """The command and its flags."""
    add_command(commands, "words", words, "list the words and kinds of toys that the pocket base knows")


def words(given: argparse.Namespace) -> None:
    from limner.pocket.known import known

    vocabulary = known()
    lines = [f"{kind:13} {', '.join(names)}" for kind, names in vocabulary.items()]
    head = "The base 'pocket' knows these words and no others; write prompts and classes with them."
    out(given, vocabulary, "\n".join([head, "", *lines]))
