"""Types of the fields that clients send."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


def check_text(text: str) -> str:
    """Raise `ValueError` for characters that are no text: null, other control characters, half of a character."""
    if any(ord(character) < 32 and character not in "\n\r\t" for character in text):
        raise ValueError("a text cannot hold control characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the text holds half of a character") from None
    return text


def check_line(text: str) -> str:
    if "\n" in text or "\r" in text:
        raise ValueError("must be one line")
    return check_text(text).strip()


Text = Annotated[str, AfterValidator(check_text)]
Prompt = Annotated[str, StringConstraints(max_length=32_000), AfterValidator(check_text)]
Caption = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(check_text)]
Line = Annotated[str, StringConstraints(max_length=200), AfterValidator(check_line)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(check_line)]
Id = Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]
Stored = Annotated[str, StringConstraints(pattern="^([0-9a-f]{32}|[0-9a-f]{64})$")]
"""A picture by its id, or by the SHA-256 of its content."""
Seed = Annotated[int, Field(ge=0, lt=2**31 - 16)]  # room for the seeds of further pictures in 32 bits
Word = Annotated[str, Query(max_length=200), AfterValidator(check_line)]
"""A text in the query of an address."""
Number = Annotated[int, Query(ge=0, lt=2**53)]


class Fields(BaseModel):
    """The fields of a JSON body: others are refused, and types are not guessed."""

    model_config = ConfigDict(extra="forbid", strict=True)


Record = dict[str, Any]
"""An answer, in types that JSON can hold."""
