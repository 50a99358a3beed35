"""The grammar: an English sentence to edits, with the words for their targets as the user wrote them.

Targets are resolved afterwards (`naming.py`), because one phrase may mean several things. No network reads anything
here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from limner.core.regions import WORDS as REGIONS

from .edits import Edit
from .lexicon import GERUNDS, PLACES, REST, SCENE_WORDS, STYLES, TIMES
from .phrases import NP, RELATED, NounPhrase, adjective, cut, normalised, noun_phrase, one_of, without_fillers
from .states import COUNTS, NUMBERS, State, Thing, singular


@dataclass
class Sentence:
    """The edits of one sentence while it is read; `strange` are clauses that nothing understands."""

    state: State
    subjects: tuple[Thing, ...] = ()
    edits: list[Edit] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    verb: str = ""  # verb of the clause before: a bare noun phrase goes on with it
    target: str = ""  # target of the clause before

    @property
    def names(self) -> set[str]:
        """Words for the learned subjects and the things in the picture."""
        every = (*self.subjects, *self.state.things)
        return {word for thing in every for word in (thing.name, thing.noun)}

    @property
    def accessories(self) -> set[str]:
        in_state = {each.noun for thing in self.state.things for each in thing.accessories}
        return in_state | {edit.value for edit in self.edits if edit.op == "dress"}

    def is_thing(self, noun: str) -> bool:
        return noun in self.names or singular(noun) in self.names

    def edit(self, op: str, **values: object) -> None:
        self.edits.append(Edit(op=op, **values))  # type: ignore[arg-type]  # callers give the fields of Edit


def read_sentence(words: str, state: State, subjects: Iterable[Thing] = ()) -> Sentence:
    """The edits that a sentence asks for, in its order."""
    sentence = Sentence(state, tuple(subjects))
    for clause in clauses(normalised(words)):
        plain = clause if _ANOTHER.fullmatch(clause) else without_fillers(clause)
        if plain and plain not in REST and not re.fullmatch(rf"(?:keep|leave) {one_of(REST)}.*", plain):
            _read_clause(sentence, plain, first=not sentence.edits)
    return sentence


def clauses(text: str) -> list[str]:
    """A sentence cut at stops, "then", "but" and at those commas and "and"s that do not stand inside a noun phrase."""
    text = re.sub(rf",? \b(?:keep|leave|with|and keep|but keep) {one_of(REST)}[^;,]*", "", text)
    parts = re.split(r"\s*;\s*|,?\s+\bthen\b\s+|,?\s+\bbut\b\s+|\s*,\s*and\s+|\s*,\s*|\s+and\s+", text)
    return [part for part in parts if part]


Rule = Callable[[Sentence, "re.Match[str]"], "bool | None"]
_RULES: list[tuple[re.Pattern[str], Rule]] = []


def _rule(pattern: str) -> Callable[[Rule], Rule]:
    def keep(rule: Rule) -> Rule:
        _RULES.append((re.compile(pattern), rule))
        return rule

    return keep


def _read_clause(sentence: Sentence, text: str, *, first: bool) -> None:
    for pattern, rule in _RULES:
        match = pattern.fullmatch(text)
        if match and rule(sentence, match) is not False:
            return
    if not _describe(sentence, text, first=first):
        sentence.strange.append(text)


# ---------------------------------------------------------------------------------------------------- seeds, strengths


_ANOTHER = re.compile(
    r"(?:(?:give me |show me |paint )?(?:another|a different|a new)(?: (?:one|picture|version|seed|take|try))?|"
    r"(?:try|once) (?:again|more)|again|reroll|re-roll|variation|more variations?|(?:a )?different seed)"
)


@_rule(_ANOTHER.pattern)
def _another(sentence: Sentence, match: re.Match[str]) -> None:
    sentence.edit("seed")


@_rule(r"(?:use |with |set |change )?(?:the )?seed (?:to |= ?)?(-?\d{1,18})")
def _seed(sentence: Sentence, match: re.Match[str]) -> None:
    sentence.edit("seed", number=int(match[1]))


@_rule(rf"(?:make |set )?({NP}) (?:at|to|with strength|strength|at strength) (-?\d+(?:\.\d+)?)")
@_rule(r"(?:use |with |set )?(?:the )?(strength) (?:to |of )?(-?\d+(?:\.\d+)?)")
def _strength(sentence: Sentence, match: re.Match[str]) -> None:
    sentence.edit("strength", target=_name(re.sub(r" ?strength$", "", match[1])), number=float(match[2]))


@_rule(rf"(?:make )?(?:({NP}) )?(stronger|weaker)")
def _stronger(sentence: Sentence, match: re.Match[str]) -> None:
    _by(sentence, match[1] or "", 1.25 if match[2] == "stronger" else 0.8)


@_rule(rf"(?:a bit |a little )?(more|less) (?:of )?({NP})")
def _more_of(sentence: Sentence, match: re.Match[str]) -> bool:
    if not any(match[2] in (thing.name, f"the {thing.noun}") for thing in sentence.subjects):
        return False
    _by(sentence, match[2], 1.25 if match[1] == "more" else 0.8)
    return True


def _by(sentence: Sentence, phrase: str, factor: float) -> None:
    """Multiply a strength. The edit holds the new value, so that reading it twice changes nothing."""
    learned = [thing for thing in sentence.state.things if thing.handle]
    named = [thing for thing in learned if _name(phrase) in ("", "it", thing.name, thing.noun)]
    now = named[0].strength if named else 1.0
    sentence.edit("strength", target=_name(phrase), number=round(now * factor, 3))


# --------------------------------------------------------------------------------------------------------- exchanging


@_rule(rf"(?:replace|swap|exchange|change|turn|switch|make) ({NP}) (?:with|for|by|to|into) ({NP})")
def _exchange(sentence: Sentence, match: re.Match[str]) -> bool:
    old, new = noun_phrase(match[1]), noun_phrase(match[2])
    whole = without_fillers(match[2])
    if old is None or new is None:
        return False
    if old.noun in SCENE_WORDS:
        sentence.edit("scene", value=_place(whole))
    elif old.noun in ("style", "look"):
        sentence.edit("style", value=style_of(whole))
    elif (time := TIMES.get(whole)) and old.noun in ("time", "time of day", "day", "light"):
        sentence.edit("time", value=time)
    elif adjective(whole)[0]:
        _paint_part(sentence, old, *adjective(whole))
    elif whole.removeprefix("a ").removeprefix("an ") in STYLES:
        sentence.edit("style", value=style_of(whole))
    elif old.is_accessory or old.noun in sentence.accessories:
        owner = _owner(sentence, old.noun)
        sentence.edit("undress", target=owner, value=old.noun)
        sentence.edit("dress", target=owner, value=new.noun, colour=new.adjectives)
    elif sentence.is_thing(old.noun) or old.noun in ("it", "him", "her"):
        sentence.edit("remove", target=_name(match[1]))
        _add(sentence, new)
    else:
        return False
    return True


@_rule(rf"({NP}) instead of ({NP})")
def _instead(sentence: Sentence, match: re.Match[str]) -> bool:
    inner = re.fullmatch(r"replace (.+) with (.+)", f"replace {match[2]} with {match[1]}")
    return bool(inner and _exchange(sentence, inner))


# ------------------------------------------------------------------------------------------------------------ removing

REMOVE = (
    "remove|delete|take off|take away|take out|drop|lose|get rid of|without|no more|no|not|don't show|do not show|hide|"
    "avoid|never|leave out|leave off|take|erase|not a|don't want|do not want|nothing"
)


@_rule(r"(?:stop|no more|not|no longer|don't|do not) ([\w' -]+)")
def _stop(sentence: Sentence, match: re.Match[str]) -> bool:
    if match[1] not in GERUNDS:
        return False
    sentence.edit("action", target="", value="")
    return True


@_rule(rf"(?:{REMOVE}) ({NP})(?: off| away| out)?(?: (?:from|of) ({NP}))?")
def _remove(sentence: Sentence, match: re.Match[str]) -> None:
    sentence.verb, sentence.target = "remove", _name(match[2] or "")
    _gone(sentence, match[1], _name(match[2] or ""))


@_rule(rf"({NP}) (?:away|off|out)")
def _off(sentence: Sentence, match: re.Match[str]) -> bool:
    phrase = noun_phrase(match[1])
    if phrase is None or phrase.noun not in sentence.accessories:
        return False
    _gone(sentence, match[1], "")
    return True


def _gone(sentence: Sentence, text: str, target: str) -> None:
    phrase = noun_phrase(text)
    if phrase is None:
        sentence.strange.append(text)
    elif phrase.noun in sentence.accessories:
        sentence.edit("undress", target=target or _owner(sentence, phrase.noun), value=phrase.noun)
    elif phrase.noun in SCENE_WORDS:
        sentence.edit("scene", value="in the studio")
    elif phrase.noun == "style":
        sentence.edit("style", value="")
    elif sentence.is_thing(phrase.noun) and not phrase.adjectives:
        sentence.edit("remove", target=_name(text))
    else:
        sentence.edit("avoid", value=" ".join(filter(None, (phrase.adjectives, phrase.noun))))


@_rule(rf"(?:allow|permit) ({NP})(?: again)?")
@_rule(rf"({NP}) (?:is|are) (?:fine|ok|okay|allowed|all right)")
def _allow(sentence: Sentence, match: re.Match[str]) -> bool:
    phrase = noun_phrase(match[1])
    if phrase is None or phrase.noun not in " ".join(sentence.state.avoid).split():
        return False
    sentence.edit("allow", value=next(w for w in sentence.state.avoid if phrase.noun in w.split()))
    return True


# ------------------------------------------------------------------------------------------------------------ dressing


@_rule(rf"(?:put|place|set) ({NP}) on(?:to)? ({NP})")
def _put_on(sentence: Sentence, match: re.Match[str]) -> bool:
    phrase, owner = noun_phrase(match[1]), noun_phrase(match[2].removesuffix(" head").removesuffix("'s"))
    if phrase is None or not phrase.is_accessory or owner is None:
        return False
    _dress(sentence, phrase, _name(match[2]))
    return True


@_rule(rf"(?:give|dress|get|hand|make|let) ({NP}(?: {NP})?)")
@_rule(rf"({NP} (?:wears?|has|have|with|in|wearing|gets|needs|should wear|should have) {NP})")
def _give(sentence: Sentence, match: re.Match[str]) -> bool:
    """ "give the cat a hat": cut where a thing of the picture ends and an accessory begins."""
    words = re.sub(r" (?:wears?|has|have|with|in|wearing|gets|needs|should wear|should have|up in)(?= )", "", match[1])
    parts = words.split()
    for at in range(1, len(parts)):
        owner, phrase = noun_phrase(" ".join(parts[:at])), noun_phrase(" ".join(parts[at:]))
        if owner is None or phrase is None or not phrase.is_accessory or owner.is_accessory:
            continue
        in_picture = {word for thing in sentence.state.things for word in (thing.name, thing.noun)}
        if owner.noun in in_picture or owner.noun in ("it", "him", "her", "he", "she", "them", "they", "both"):
            _dress(sentence, phrase, " ".join(parts[:at]))
            return True
    return False


@_rule(rf"(?:add|put on|with|wearing|wear|in|and|plus) ({NP})(?: (?:to|on) ({NP}))?")
def _add_to(sentence: Sentence, match: re.Match[str]) -> bool:
    phrase = noun_phrase(match[1])
    if phrase is None or not phrase.is_accessory:
        return False
    _dress(sentence, phrase, _name(match[2] or ""))
    return True


def _dress(sentence: Sentence, phrase: NounPhrase, target: str) -> None:
    sentence.verb, sentence.target = "dress", target
    sentence.edit("dress", target=target, value=phrase.noun, colour=phrase.adjectives)


def _owner(sentence: Sentence, noun: str) -> str:
    """The name of the one thing that has an accessory; "" where several have it or none."""
    owners = [t.name for t in sentence.state.things if noun in [each.noun for each in t.accessories]]
    return owners[0] if len(owners) == 1 else ""


# -------------------------------------------------------------------------------------------------- things and regions


@_rule(rf"(?:add|put|place|insert|include|paint in|there should be|i want) ({NP}) (?:{RELATED})(?: ({NP}))?")
@_rule(rf"(?:add|insert|include|there should be|i want) ({NP})")
def _add_thing(sentence: Sentence, match: re.Match[str]) -> bool:
    phrase = noun_phrase(match[1])
    if phrase is None or phrase.is_accessory or phrase.noun in ("it", "him", "her", "them"):
        return False
    inner = re.search(rf" ({RELATED})(?: {NP})?$", match[0])
    if match[0].startswith(("put", "place")) and sentence.is_thing(phrase.noun) and phrase.article in ("the", ""):
        return False
    _add(sentence, phrase, inner[1] if inner else "")
    return True


def _add(sentence: Sentence, phrase: NounPhrase, relation: str = "") -> None:
    sentence.verb = "add"
    noun = singular(phrase.noun) if phrase.count > 1 else phrase.noun
    sentence.edit("add", value=noun, colour=phrase.colour, target=relation.replace("beside", "next to"))
    if phrase.count > 1:
        sentence.edit("count", target=noun, number=phrase.count)
    for look in phrase.looks:
        sentence.edit("looks", target=noun, value=look)


@_rule(rf"(?:move |put |place |shift )?(?:({NP}) )?(?:to|on|in|at|into) the ({one_of(REGIONS)})(?: (?:side|half))?")
def _region(sentence: Sentence, match: re.Match[str]) -> None:
    sentence.edit("region", target=_name(match[1] or ""), value=match[2].replace("-", " "))


@_rule(rf"(?:make |let )?({NP}) ({RELATED}) ({NP})")
def _relation(sentence: Sentence, match: re.Match[str]) -> bool:
    phrases = [noun_phrase(match[1]), noun_phrase(match[3])]
    things = sentence.state.things
    if len(things) < 2 or any(p is None or not sentence.is_thing(p.noun) for p in phrases):
        return False
    sentence.edit("relation", value=match[2])
    return True


@_rule(rf"make (it|them|that) ({one_of(NUMBERS.values())}|\d{{1,2}})")
def _count_it(sentence: Sentence, match: re.Match[str]) -> None:
    number = int(match[2]) if match[2].isdigit() else COUNTS[match[2]]
    sentence.edit("count", target="it" if len(sentence.state.things) > 1 else "", number=number)


@_rule(rf"(?:make (?:it |them )?|i want |show |paint )?({one_of(COUNTS)}|\d{{1,2}}) ({NP})")
def _count(sentence: Sentence, match: re.Match[str]) -> bool:
    phrase = noun_phrase(match[2])
    number = int(match[1]) if match[1].isdigit() else COUNTS[match[1]]
    names = {word for t in sentence.state.things for word in (t.noun, t.name)}
    if phrase is None or match[1] in ("a", "an") or singular(phrase.noun) not in names or phrase.adjectives:
        return False
    sentence.edit("count", target=f"the {singular(phrase.noun)}", number=number)
    return True


# ------------------------------------------------------------------------------------------------------- looks, actions


@_rule(rf"(?:make|colour|color|paint|turn|let|have|dye) ({NP}) (?:be |look |to be )?([\w-]+)(?: again)?")
@_rule(rf"({NP}) (?:is|are|should be|looks|becomes|to be|be) (?:now )?([\w-]+)")
def _make(sentence: Sentence, match: re.Match[str]) -> bool:
    kind, word = adjective(match[2])
    phrase = noun_phrase(match[1])
    if not kind or phrase is None:
        return False
    if phrase.noun in ("picture", "whole", "everything"):
        return False
    _paint_part(sentence, phrase, kind, word)
    return True


def _paint_part(sentence: Sentence, phrase: NounPhrase, kind: str, word: str) -> None:
    if phrase.noun in sentence.accessories or phrase.is_accessory:
        sentence.edit("colour", target=_owner(sentence, phrase.noun), part=phrase.noun, value=word)
    else:
        sentence.edit(
            kind, target=_name(" ".join(filter(None, (phrase.article, phrase.adjectives, phrase.noun)))), value=word
        )


@_rule(
    r"(?:make|set|change|put|paint|show|do|turn)(?: (?:it|that|this|him|her|the (?:whole )?picture|everything|all of it))?(?: into| as| in| to)? ?((?:in |as )?.+)"
)
def _whole_picture(sentence: Sentence, match: re.Match[str]) -> bool:
    text = match[1]
    style = style_of(text)
    if style:
        sentence.edit("style", value=style)
    elif text in TIMES:
        sentence.edit("time", value=TIMES[text])
    else:
        return False
    return True


def style_of(text: str) -> str:
    """The words of a style for a prompt; "" for a text that is no style."""
    rest = cut(f"as {text}" if not text.startswith(("as ", "in ")) else text, things=())
    return rest.style if not rest.text and not rest.place else ""


# ----------------------------------------------------------------------------------------------------------- describing

VERBS = (
    "put|move|bring|send|take|place|set|go|let's go|paint|draw|show|show me|make|let|have|do|create|a picture of|use"
)
ASIDE = "make|let|have|put|move|bring|send|take|place|set|show|paint|draw"


def _describe(sentence: Sentence, text: str, *, first: bool) -> bool:
    """Read a clause that describes: a thing with its looks, action and accessories, a place, a time, a style. Returns
    whether all of it was understood."""
    before, empty = len(sentence.edits), not sentence.state.things
    paints = re.match(r"(?:paint|draw|show(?: me)?|create|generate|make me)\b ?(?:me )?", text)
    asks = bool(paints) and not sentence.edits
    text = re.sub(rf"^(?:{VERBS})\b ?(?:me )?", "", text) if not text.startswith("a picture") else text
    text = re.sub(r"^(?:a |the )?(?:picture|photo|image|photograph)s? of ", "", text)
    text = re.sub(r"^(?:is|are|be|should be|to) ", "", text)
    rest = cut(text, things=sentence.names | sentence.accessories)
    rest = replace(rest, text=re.sub(r"(?:^| )(?:is|are|should be|should|be|is now)$", "", rest.text))
    head, accessories, relation, other = _head(rest.text)
    phrase = noun_phrase(head) if head else None
    target = ""
    if phrase is not None:
        target = _describe_thing(sentence, phrase, head, first=first, asks=asks, empty=empty)
        if target == "?":
            return False
    elif head:
        return False
    if rest.action:
        sentence.edit("action", target=target, value=rest.action)
    for accessory in accessories:
        _dress(sentence, accessory, target)
    if other is not None:
        _other(sentence, other, relation)
    for op in ("place", "time", "view", "style"):
        if value := getattr(rest, op):
            sentence.edit("scene" if op == "place" else op, value=value)
    return len(sentence.edits) > before or bool(phrase and target)


def _head(text: str) -> tuple[str, list[NounPhrase], str, NounPhrase | None]:
    """The head of a clause, its accessories, and a second thing with its relation."""
    accessories, relation, other = [], "", None
    if match := re.search(rf"(?:^| )(?:wearing|with|wears|in) ({NP})$", text):
        phrase = noun_phrase(match[1])
        if phrase is not None and phrase.is_accessory:
            accessories, text = [phrase], text[: match.start()]
    if match := re.search(rf"(?:^| )({RELATED}) ({NP})$", text):
        other = noun_phrase(match[2])
        if other is not None:
            relation, text = match[1].replace("beside", "next to"), text[: match.start()]
    return text.strip(), accessories, relation, other


def _describe_thing(sentence: Sentence, phrase: NounPhrase, head: str, *, first: bool, asks: bool, empty: bool) -> str:
    """The edits that name the thing a clause is about; returns its words, or "?" where the clause is not understood."""
    in_picture = {word for t in sentence.state.things for word in (t.name, t.noun)}
    added = {edit.value for edit in sentence.edits if edit.op == "add"}
    noun = singular(phrase.noun) if singular(phrase.noun) in sentence.names or phrase.count > 1 else phrase.noun
    if phrase.noun in ("it", "him", "her", "he", "she", "them", "they", "both", "that"):
        return phrase.noun
    if noun in added:
        return noun
    kind, word = adjective(head)
    if kind and not empty:
        sentence.edit(kind, target=sentence.target if sentence.verb == "paint" else "", value=word)
        return head
    if head in TIMES:
        sentence.edit("time", value=TIMES[head])
        return head
    if head in GERUNDS:
        sentence.edit("action", value=GERUNDS[head])
        return head
    if phrase.is_accessory and (not empty or added):
        if sentence.verb == "remove":
            _gone(sentence, head, sentence.target)
        else:
            _dress(sentence, phrase, sentence.target)
        return head
    if sentence.verb == "remove":
        _gone(sentence, head, "")
        return head
    if noun in in_picture and not asks:
        name = _name(f"the {noun}" if phrase.article else noun)
        for look in phrase.looks:
            sentence.edit("looks", target=name, value=look)
        if phrase.colour:
            sentence.edit("colour", target=name, value=phrase.colour)
        return name
    fresh = (empty or asks) and first and not added
    if not (fresh or sentence.verb == "add" or noun in sentence.names or added):
        return "?"
    if fresh and not empty:
        sentence.edit("new")
    subject = _subject(sentence, phrase, noun)
    _add(sentence, replace(phrase, noun=subject))
    return singular(subject) if phrase.count > 1 else subject


def _other(sentence: Sentence, other: NounPhrase, relation: str) -> None:
    shown = {word for thing in sentence.state.things for word in (thing.name, thing.noun)}
    if other.noun in shown and other.article != "a":
        sentence.edit("relation", value=relation)
    elif other.noun not in ("it", "him", "her", "them"):
        _add(sentence, replace(other, noun=_subject(sentence, other, other.noun)), relation)


def _subject(sentence: Sentence, phrase: NounPhrase, noun: str) -> str:
    """The name of the learned subject that a phrase means: "the dog" is rex; "a dog" is any dog."""
    if phrase.count > 1 or phrase.article in ("a", "an", "another", "some"):
        return next((t.name for t in sentence.subjects if noun == t.name), noun)
    return next((t.name for t in sentence.subjects if noun in (t.name, t.noun)), noun)


def _place(text: str) -> str:
    """A place with its preposition: "a desert" is "in a desert"."""
    return text if text.split()[0] in PLACES else f"in {text}"


def _name(text: str) -> str:
    """Words for a thing, without verbs around it."""
    return re.sub(r"^(?:make|let|have) | should$", "", text).strip()
