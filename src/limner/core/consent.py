"""Consent to train on the face of a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from limner.errors import FileError, InputError

from .untrusted import plain_text, table


class GuardianNeeded(InputError):
    """The face appears to be a child's, and no parent or guardian has agreed."""


MAX_CONSENT = 200  # characters of each answer


@dataclass(frozen=True)
class Consent:
    """The consent given before training on a face. The header of the concept records it."""

    person: str  # the person shown: "Ann Lee", "myself", "nobody: a rendered person"
    guardian: str = ""  # the parent or guardian who agreed for a child

    def __post_init__(self) -> None:
        for name, text in (("person", self.person), ("guardian", self.guardian)):
            if not isinstance(text, str) or len(text) > MAX_CONSENT or "\n" in text:
                raise InputError(f"the {name} of a consent must be one line of at most {MAX_CONSENT} characters")
        if not self.person.strip():
            raise InputError("a consent must say whose face it is, such as 'Ann Lee' or 'myself'")

    def card(self) -> dict[str, str]:
        return {"person": self.person, "guardian": self.guardian}

    @classmethod
    def of(cls, given: Consent | str | None) -> Consent | None:
        """A consent from a `Consent` or from the name of the person."""
        return given if given is None or isinstance(given, Consent) else cls(given)


def check_consent(value: object, where: str) -> None:
    """Raise `FileError` for a malformed consent in a header."""
    consent: Mapping[str, Any] = table(value, where)
    if set(consent) != {"person", "guardian"}:
        raise FileError(f"{where} must have person and guardian, not {', '.join(sorted(map(str, consent)))[:100]}")
    for name, text in consent.items():
        plain_text(text, f"{name} of {where}", limit=MAX_CONSENT)


def demand(consent: Consent | None, *, handle: str, ages: Mapping[str, str]) -> None:
    """Raise `InputError` where training on a face is not permitted.

    Args:
        consent: the consent, or None where none was given.
        handle: the subject, for the message.
        ages: name of each picture -> apparent age of its face ("child", "adult", "old"; empty where unknown).
    """
    if consent is None:
        raise InputError(
            f"{handle} is a face, and there is no consent to train on it: nothing was trained. Give consent='NAME' "
            "(--person NAME --yes-i-may) if that person agrees"
        )
    young = [name for name, age in ages.items() if age == "child"]
    if 2 * len(young) > len(ages) and not consent.guardian:
        raise GuardianNeeded(
            f"{handle} looks like a child ({young[0]}), so a parent or guardian must agree too: nothing was trained. "
            "Give consent=Consent('NAME', guardian='WHO AGREED') (--guardian WHO)"
        )
