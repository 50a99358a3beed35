"""The edit language: what a sentence asks for, as values that go to JSON and come back, checked.

The grammar and a language model both write it; nothing else changes a state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from limner.core.regions import WORDS as REGIONS
from limner.core.wording import shortened
from limner.errors import InputError, UnknownName

from .states import BESIDE, Accessory, Part, State, Thing

MOST = 24
"""Largest number of edits of one sentence."""
LONGEST = 120
"""Characters of the longest text of an edit."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One change. `op` is a key of CHANGES or one of MOVES; OPERATIONS names the fields that each reads."""

    op: str
    target: str = ""  # name of a thing
    value: str = ""
    colour: str = ""
    part: str = ""  # noun of an accessory of the target
    number: float | None = None

    @property
    def record(self) -> dict[str, Any]:
        """The edit as a JSON object, without empty fields."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value not in ("", None)}


OPERATIONS: Mapping[str, tuple[str, ...]] = {
    "new": (),
    "scene": ("value",),
    "time": ("value",),
    "view": ("value",),
    "style": ("value",),
    "relation": ("value",),
    "dress": ("target", "value", "colour"),
    "undress": ("target", "value"),
    "colour": ("target", "part", "value"),
    "looks": ("target", "value"),
    "action": ("target", "value"),
    "add": ("value", "colour", "target", "number"),
    "remove": ("target",),
    "count": ("target", "number"),
    "seed": ("number",),
    "strength": ("target", "number"),
    "region": ("target", "value"),
    "avoid": ("value",),
    "allow": ("value",),
    "undo": ("number",),
    "redo": (),
    "return": ("number",),
    "recall": ("number", "value", "target"),
    "prefer": ("target", "number"),
    "reject": ("target", "number"),
    "accept": ("target",),
}
"""Edit -> the fields that it reads beside `op`; `number` of a move is that of a turn, from 1."""

MOVES = ("undo", "redo", "return", "prefer", "reject", "accept")
"""Edits that go through the tree of turns or change concepts; the others change a state."""
NEEDS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("scene", "time", "view", "relation", "add", "avoid", "allow"), ("value",)),
    **dict.fromkeys(("dress", "undress", "colour", "looks", "region"), ("target", "value")),
    **dict.fromkeys(("action", "remove", "accept"), ("target",)),
    **dict.fromkeys(("count", "strength"), ("target", "number")),
    **dict.fromkeys(("return", "recall"), ("number",)),
}
"""Edit -> fields that must not be empty."""


def read_edits(value: object) -> tuple[Edit, ...]:
    """Edits from JSON. Raises `InputError` for anything that is not a list of edits, and `UnknownName` for an edit that
    does not exist."""
    if not isinstance(value, (list, tuple)) or len(value) > MOST:
        raise InputError(f"edits must be a list of at most {MOST}, not {shortened(str(value), 80)!r}")
    return tuple(_read_edit(each) for each in value)


def _read_edit(value: object) -> Edit:
    if not isinstance(value, Mapping) or not isinstance(value.get("op"), str):
        raise InputError(f'an edit must be a table with "op", not {shortened(str(value), 80)!r}')
    op = value["op"]
    if op not in OPERATIONS:
        raise UnknownName("edit", op[:60], OPERATIONS)
    strange = [str(name) for name in value if name != "op" and name not in OPERATIONS[op]]
    if strange:
        raise InputError(f"the edit {op!r} reads {', '.join(OPERATIONS[op]) or 'no field'}, not {strange[0][:60]!r}")
    checked: dict[str, Any] = {"op": op}
    for name, each in value.items():
        if name == "number" and each is not None:
            if isinstance(each, bool) or not isinstance(each, (int, float)) or not -(2**63) <= each <= 2**63:
                raise InputError(f"number of the edit {op!r} must be a number, not {str(each)[:60]!r}")
            checked[name] = each
        elif name not in ("op", "number"):
            if not isinstance(each, str) or len(each) > LONGEST or "<" in each or "\n" in each:
                raise InputError(
                    f"{name} of the edit {op!r} must be a plain text of at most {LONGEST} characters, not "
                    f"{str(each)[:60]!r}"
                )
            checked[name] = each.strip()
    missing = [name for name in NEEDS.get(op, ()) if checked.get(name, "") in ("", None)]
    if missing and not (op == "action" and missing == ["value"]):
        raise InputError(f"the edit {op!r} needs {missing[0]!r}")
    return Edit(**checked)


def apply(
    state: State,
    edits: Sequence[Edit],
    *,
    earlier: Callable[[int], State] | None = None,
    cast: Sequence[Thing] = (),
) -> State:
    """The state after the edits, which must not be moves. `earlier` gives the state of a turn's number, for "recall";
    `cast` are the learned subjects, which "add" names.

    Raises `InputError` for an edit of a thing that is not in the picture, and for a value out of its bounds.
    """
    for edit in edits:
        if edit.op == "recall":
            if earlier is None:
                raise InputError("there is no earlier turn to recall")
            state = _recalled(state, earlier(round(edit.number or 0)), edit)
        elif edit.op == "add" and (known := [thing for thing in cast if thing.name == edit.value]):
            state = _enter(state, known[0], edit)
        elif edit.op in CHANGES:
            state = CHANGES[edit.op](state, edit)
        else:
            raise InputError(f"{edit.op!r} changes no state: it goes through the turns or changes a concept")
    return state


def _new(state: State, edit: Edit) -> State:
    return State(seed=state.seed, steps=state.steps, guidance=state.guidance)


def _dress(state: State, edit: Edit) -> State:
    thing = state.thing(edit.target)
    new = Accessory(noun=edit.value, colour=edit.colour)
    rest = tuple(each for each in thing.accessories if each.noun != new.noun)
    return state.with_thing(replace(thing, accessories=(*rest, new)))


def _undress(state: State, edit: Edit) -> State:
    thing = state.thing(edit.target)
    rest = tuple(each for each in thing.accessories if edit.value not in (each.noun, "everything"))
    if len(rest) == len(thing.accessories):
        raise InputError(f"{thing.name} has no {edit.value} that could go away")
    return state.with_thing(replace(thing, accessories=rest))


def _colour(state: State, edit: Edit) -> State:
    thing = state.thing(edit.target)
    if not edit.part:
        return state.with_thing(replace(thing, colour=edit.value))
    if edit.part not in [each.noun for each in thing.accessories]:
        raise InputError(f"{thing.name} has no {edit.part} to give a colour to")
    new = (replace(each, colour=edit.value) if each.noun == edit.part else each for each in thing.accessories)
    return state.with_thing(replace(thing, accessories=tuple(new)))


def _looks(state: State, edit: Edit) -> State:
    thing = state.thing(edit.target)
    return state.with_thing(replace(thing, looks=(*(w for w in thing.looks if w != edit.value), edit.value)))


def _add(state: State, edit: Edit) -> State:
    if len(state.things) >= 8:
        raise InputError("a picture holds at most 8 kinds of things here")
    names, name, number = [thing.name for thing in state.things], edit.value, 2
    while name in names:
        name, number = f"{edit.value} {number}", number + 1
    new = Thing(name=name, noun=edit.value, colour=edit.colour, count=_count(edit.number or 1))
    return replace(state, things=(*state.things, new), relation=edit.target or state.relation)


def _enter(state: State, subject: Thing, edit: Edit) -> State:
    """The state with a learned subject, which can be in the picture once."""
    if subject.name in [thing.name for thing in state.things]:
        raise InputError(f"{subject.name} is in the picture already")
    new = replace(subject, colour=edit.colour)
    return replace(state, things=(*state.things, new), relation=edit.target or state.relation)


def _remove(state: State, edit: Edit) -> State:
    gone = state.thing(edit.target)
    return replace(state, things=tuple(thing for thing in state.things if thing is not gone), relation=BESIDE)


def _seed(state: State, edit: Edit) -> State:
    return replace(state, seed=state.seed + 1 if edit.number is None else round(edit.number))


def _strength(state: State, edit: Edit) -> State:
    number = float(edit.number or 0)
    if not -10 <= number <= 10:
        raise InputError(f"a strength must be a number from -10 to 10, not {number:g}")
    thing = state.thing(edit.target)
    if not thing.handle:
        raise InputError(f"{thing.name} is no learned subject, so it has no strength")
    return state.with_thing(replace(thing, strength=number))


def _region(state: State, edit: Edit) -> State:
    if edit.value not in ("anywhere", *REGIONS):
        raise UnknownName("region", edit.value, REGIONS)
    return state.with_thing(replace(state.thing(edit.target), region="" if edit.value == "anywhere" else edit.value))


def _number(state: State, edit: Edit) -> State:
    thing = state.thing(edit.target)
    if thing.handle:
        raise InputError(f"{thing.name} is one individual, of which a picture shows one; add a {thing.noun} instead")
    return state.with_thing(replace(thing, count=_count(float(edit.number or 0))))


def _count(number: float) -> int:
    if not 1 <= number <= 20:
        raise InputError(f"a picture shows from 1 to 20 of a thing, not {number:g}")
    return round(number)


def _recalled(state: State, other: State, edit: Edit) -> State:
    """The state with a part of an earlier one: "scene", "style", …, an accessory, a thing; "" is all of it."""
    if not edit.value:
        return other
    if edit.value in ("scene", "time", "view", "style", "seed", "relation"):
        return replace(state, **{edit.value: getattr(other, edit.value)})
    if edit.value in ("colour", "action", "looks", "accessories", "region", "strength"):
        then = other.thing(edit.target)
        return state.with_thing(replace(state.thing(edit.target), **{edit.value: getattr(then, edit.value)}))
    for then in other.things:
        for each in then.accessories:
            if each.noun == edit.value:
                name = edit.target or then.name
                return _dress(state, Edit(op="dress", target=name, value=each.noun, colour=each.colour))
    raise InputError(f"that turn has no {edit.value}")


CHANGES: Mapping[str, Callable[[State, Edit], State]] = {
    "new": _new,
    "scene": lambda state, edit: replace(state, scene=edit.value),
    "time": lambda state, edit: replace(state, time=edit.value),
    "view": lambda state, edit: replace(state, view=edit.value),
    "style": lambda state, edit: replace(state, style=edit.value),
    "relation": lambda state, edit: replace(state, relation=edit.value),
    "dress": _dress,
    "undress": _undress,
    "colour": _colour,
    "looks": _looks,
    "action": lambda state, edit: state.with_thing(replace(state.thing(edit.target), action=edit.value)),
    "add": _add,
    "remove": _remove,
    "count": _number,
    "seed": _seed,
    "strength": _strength,
    "region": _region,
    "avoid": lambda state, edit: replace(state, avoid=tuple(dict.fromkeys((*state.avoid, edit.value)))),
    "allow": lambda state, edit: replace(state, avoid=tuple(w for w in state.avoid if w != edit.value)),
}

BACKGROUND = ("scene", "time")
ACCESSORY = ("dress", "undress")
THING = (*ACCESSORY, "colour", "looks", "action", "remove")


def part_of(edits: Sequence[Edit]) -> Part:
    """The part of the picture that edits change."""
    ops = {_kind(edit) for edit in edits}
    if ops and ops <= {*BACKGROUND}:
        return "background"
    if ops and ops <= {*ACCESSORY}:
        return "accessory"
    if ops and ops <= {*BACKGROUND, *ACCESSORY}:
        return "background and accessory"
    return "thing" if ops and ops <= {*THING} else "all"


def _kind(edit: Edit) -> str:
    """The edit's name; that of an accessory's colour, or of a part that is recalled, is the part's."""
    if edit.op == "colour" and edit.part:
        return "dress"
    if edit.op != "recall":
        return edit.op
    if edit.value in ("colour", "looks", "action", *BACKGROUND):
        return edit.value
    return "seed" if edit.value in ("", "view", "style", "seed", "relation", "region", "strength") else "dress"
