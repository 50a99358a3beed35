"""Checks of the header of a concept's file: each field must have its type and lie within its bounds before it is
used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from limner.errors import FileError, InputError

from .consent import check_consent
from .subject import BEFORE, BESIDE, KINDS, check_name, check_noun
from .untrusted import finite_number, plain_text, rows, table, whole_number

if TYPE_CHECKING:
    from torch import Tensor

BASE = ("name", "family", "fingerprint")
SUBJECT = ("handle", "noun", "kind", "pictures")
PICTURE = ("name", "sha256", "caption")
MEMBER = ("handle", "method", "settings", "subject", "seed", "method_sha256", "keeps")
MERGED = "merged"
"""The method in the header of a merged concept."""
MOST_MEMBERS = 16
"""Largest number of subjects of one concept."""
MAX_NAME = 500
"""Characters of the longest name of a tensor, a picture or a base."""
MAX_SEED = 2**63
WORD = "word."


def check_header(header: Mapping[str, Any], tensors: Mapping[str, Tensor], path: object) -> None:
    """Check every field of a concept's header, and the names and data types of its tensors. Raises `FileError` that
    names the field."""
    at = f"of the header of {path}"
    check_handle(header["handle"], f"handle {at}")
    _check_method(header["method"], f"method {at}")
    _check_settings(header["settings"], f"settings {at}")
    for name in BASE:
        plain_text(_field(header["base"], name, f"base {at}"), f"base {name} {at}", limit=MAX_NAME)
    _only(header["base"], BASE, f"base {at}")
    _check_subject(header["subject"], header["handle"], at)
    whole_number(header["seed"], f"seed {at}", least=-MAX_SEED, most=2 * MAX_SEED)
    for loss in _list(header["losses"], f"losses {at}"):
        finite_number(loss, f"each of losses {at}")
    _named(header["scores"], f"scores {at}")
    for name, value in _named(header["cost"], f"cost {at}").items():
        finite_number(value, f"cost {name} {at}")
    for name, value in _named(header["versions"], f"versions {at}").items():
        plain_text(value, f"versions {name} {at}", limit=MAX_NAME)
    for name, value in _named(header["weights"], f"weights {at}").items():
        plain_text(value, f"weights {name} {at}", limit=64)
    plain_text(header["method_sha256"], f"method_sha256 {at}", limit=64)
    plain_text(header["after"], f"after {at}", limit=64)
    _check_members(header, at)
    check_tensor_names(tensors, path)


def _check_members(header: Mapping[str, Any], at: str) -> None:
    """Check the members of a merged concept: their handles differ, and the first is the concept's own."""
    members = rows(header.get("members", []), f"members {at}")
    if bool(members) != (header["method"] == MERGED):
        raise FileError(
            f"members {at} belong to a merged concept and to no other: method is {str(header['method'])[:100]!r}"
        )
    if len(members) > MOST_MEMBERS:
        raise FileError(f"members {at} are {len(members)}; {MOST_MEMBERS} is the most")
    for number, member in enumerate(members):
        here = f"of member {number} {at}"
        _only(member, MEMBER, f"members {at}")
        for name in MEMBER:
            _field(member, name, f"members {at}")
        check_handle(member["handle"], f"handle {here}")
        _check_method(member["method"], f"method {here}")
        if member["method"] == MERGED:
            raise FileError(f"method {here} is {MERGED!r}: members of a merged concept must not be merged themselves")
        _check_settings(member["settings"], f"settings {here}")
        _check_subject(member["subject"], member["handle"], here)
        whole_number(member["seed"], f"seed {here}", least=-MAX_SEED, most=2 * MAX_SEED)
        plain_text(member["method_sha256"], f"method_sha256 {here}", limit=64)
        for place in _list(member["keeps"], f"keeps {here}"):
            whole_number(place, f"each of keeps {here}", least=0, most=1000)
    handles = [handle for member in members for handle in subject_handles(member["subject"])]
    if len(set(handles)) < len(handles) or (handles and handles[0] != header["handle"]):
        raise FileError(
            f"members {at} must answer to different handles, the first to {header['handle']}, not {handles}"
        )


def subject_cards(card: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A subject's card, and those of the subjects learned beside it and before it."""
    return [card, *card.get(BESIDE, ()), *card.get(BEFORE, ())]


def subject_handles(card: Mapping[str, Any]) -> list[str]:
    """The handles of `subject_cards`."""
    return [str(each["handle"]) for each in subject_cards(card)]


def check_handle(value: object, where: str) -> str:
    """The handle itself. Raises `FileError` unless it is written as `check_name` writes names, in angle brackets:
    "<rex>"."""
    handle = plain_text(value, where, limit=64)
    try:
        right = f"<{check_name(handle)}>"
    except InputError as error:
        raise FileError(f"{where} cannot be: {error}") from error
    if handle != right:
        raise FileError(f"{where} must be written {right}, not {handle!r}")
    return handle


def check_tensor_names(tensors: Mapping[str, Tensor], path: object) -> None:
    """Raise `FileError` unless each name consists of letters, digits and `._<>-`, words in names are written as
    `check_name` writes them, and values are numbers."""
    for name, tensor in tensors.items():
        if not re.fullmatch(r"[A-Za-z0-9_.<>-]+", name) or len(name) > MAX_NAME:
            raise FileError(f"{path} has a tensor with a name that limner does not give: {name[:100]!r}")
        if name.startswith(WORD) and not re.fullmatch(r"<[a-z][a-z0-9_-]{0,60}>(\.[a-z0-9_.]+)?", name[len(WORD) :]):
            raise FileError(
                f"{path} has a word with a name that limner does not give: {name[:100]!r}; expected word.<rex>"
            )
        if not tensor.dtype.is_floating_point and tensor.dtype.itemsize > 8:
            raise FileError(f"{path} has a tensor of data type {tensor.dtype}, which is no number: {name}")


def _check_method(value: object, where: str) -> None:
    method = plain_text(value, where, limit=4096)
    if not re.fullmatch(r"[a-z_][a-z0-9_]*|[^\0\n\r]+\.py:[A-Za-z_][A-Za-z0-9_]*", method):
        raise FileError(f"{where} must be the name of a method or FILE.py:function, not {method[:100]!r}")


def _check_settings(value: object, where: str) -> None:
    """Check names and kinds of values alone: types and limits are checked when the method makes its recipe."""
    for name, setting in _named(value, where).items():
        if not name.isidentifier():
            raise FileError(f"{where} have a name that no setting has: {name[:100]!r}")
        if isinstance(setting, str):
            plain_text(setting, f"{name} {where}")
        elif not isinstance(setting, bool):
            finite_number(setting, f"{name} {where}")


def _check_subject(value: object, handle: str, at: str, *, listed: bool = False) -> None:
    """Check a subject's card; one that is listed in another card lists no subjects itself."""
    subject = table(value, f"subject {at}")
    _only(subject, (*SUBJECT, "consent", *(() if listed else (BEFORE, BESIDE))), f"subject {at}")
    if "consent" in subject:
        check_consent(subject["consent"], f"consent {at}")
    if _field(subject, "handle", f"subject {at}") != handle:
        raise FileError(
            f"subject handle {at} must be {handle}, as the concept's own, not {str(subject['handle'])[:100]!r}"
        )
    noun = plain_text(_field(subject, "noun", f"subject {at}"), f"noun {at}", limit=100)
    try:
        check_noun(noun)
    except InputError as error:
        raise FileError(f"noun {at} cannot be: {error}") from error
    if _field(subject, "kind", f"subject {at}") not in KINDS:
        raise FileError(f"kind {at} must be one of {', '.join(KINDS)}, not {str(subject['kind'])[:100]!r}")
    for picture in rows(_field(subject, "pictures", f"subject {at}"), f"pictures {at}"):
        _only(picture, PICTURE, f"pictures {at}")
        for name in PICTURE:
            plain_text(_field(picture, name, f"pictures {at}"), f"{name} of pictures {at}")
    for name in () if listed else (BEFORE, BESIDE):
        for number, card in enumerate(rows(subject.get(name, []), f"{name} {at}")):
            here = f"of subject {number} {name} it {at}"
            _check_subject(card, check_handle(_field(card, "handle", f"subject {here}"), here), here, listed=True)
    handles = subject_handles(subject)
    if len(handles) > MOST_MEMBERS:
        raise FileError(f"subject {at} stands for {len(handles)} subjects; {MOST_MEMBERS} is the most")
    if len(set(handles)) < len(handles):
        raise FileError(f"the subjects {at} must have different handles, not {handles}")


def _field(value: object, name: str, where: str) -> Any:
    entries = table(value, where)
    if name not in entries:
        raise FileError(f"{where} lacks {name!r}")
    return entries[name]


def _only(value: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    strange = [name for name in value if name not in known]
    if strange:
        raise FileError(f"{where} has a field that limner does not write: {strange[0][:100]!r}")


def _named(value: object, where: str) -> dict[str, Any]:
    entries = table(value, where)
    for name in entries:
        plain_text(name, f"each name of {where}", limit=MAX_NAME)
    return entries


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise FileError(f"{where} must be a list, not {type(value).__name__}")
    return value
