"""Clauses with a verb of change: each rule is a pattern of a whole clause, and the edits that it stands for."""

from __future__ import annotations

import re
from collections.abc import Callable

from limner.core.regions import WORDS as REGIONS

from .describing import style_of
from .lexicon import GERUNDS, SCENE_WORDS, STYLES, TIMES
from .phrases import NP, RELATED, adjective, noun_phrase, one_of, without_fillers
from .sentences import Sentence, dress, enter, name_of, owner_of, place_of, recolour, take_away
from .states import COUNTS, NUMBERS, singular

Rule = Callable[[Sentence, "re.Match[str]"], "bool | None"]


RULES: list[tuple[re.Pattern[str], Rule]] = []


def _rule(pattern: str) -> Callable[[Rule], Rule]:
    def keep(rule: Rule) -> Rule:
        RULES.append((re.compile(pattern), rule))
        return rule

    return keep


ANOTHER = re.compile(
    r"(?:(?:give me |show me |paint )?(?:another|a different|a new)(?: (?:one|picture|version|seed|take|try))?|"
    r"(?:try|once) (?:again|more)|again|reroll|re-roll|variation|more variations?|(?:a )?different seed)"
)


@_rule(ANOTHER.pattern)
def _another(sentence: Sentence, match: re.Match[str]) -> None:
    sentence.edit("seed")


@_rule(r"(?:use |with |set |change )?(?:the )?seed (?:to |= ?)?(-?\d{1,18})")
def _seed(sentence: Sentence, match: re.Match[str]) -> None:
    sentence.edit("seed", number=int(match[1]))


@_rule(rf"(?:make |set )?({NP}) (?:at|to|with strength|strength|at strength) (-?\d+(?:\.\d+)?)")
@_rule(r"(?:use |with |set )?(?:the )?(strength) (?:to |of )?(-?\d+(?:\.\d+)?)")
def _strength(sentence: Sentence, match: re.Match[str]) -> None:
    sentence.edit("strength", target=name_of(re.sub(r" ?strength$", "", match[1])), number=float(match[2]))


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
    named = [thing for thing in learned if name_of(phrase) in ("", "it", thing.name, thing.noun)]
    now = named[0].strength if named else 1.0
    sentence.edit("strength", target=name_of(phrase), number=round(now * factor, 3))


@_rule(rf"(?:replace|swap|exchange|change|turn|switch|make) ({NP}) (?:with|for|by|to|into) ({NP})")
def _exchange(sentence: Sentence, match: re.Match[str]) -> bool:
    old, new = noun_phrase(match[1]), noun_phrase(match[2])
    whole = without_fillers(match[2])
    if old is None or new is None:
        return False
    if old.noun in SCENE_WORDS:
        sentence.edit("scene", value=place_of(whole))
    elif old.noun in ("style", "look"):
        sentence.edit("style", value=style_of(whole))
    elif (time := TIMES.get(whole)) and old.noun in ("time", "time of day", "day", "light"):
        sentence.edit("time", value=time)
    elif adjective(whole)[0]:
        recolour(sentence, old, *adjective(whole))
    elif whole.removeprefix("a ").removeprefix("an ") in STYLES:
        sentence.edit("style", value=style_of(whole))
    elif old.is_accessory or old.noun in sentence.accessories:
        holder = owner_of(sentence, old.noun)
        sentence.edit("undress", target=holder, value=old.noun)
        sentence.edit("dress", target=holder, value=new.noun, colour=new.adjectives)
    elif sentence.is_thing(old.noun) or old.noun in ("it", "him", "her"):
        sentence.edit("remove", target=name_of(match[1]))
        enter(sentence, new)
    else:
        return False
    return True


@_rule(rf"({NP}) instead of ({NP})")
def _instead(sentence: Sentence, match: re.Match[str]) -> bool:
    inner = re.fullmatch(r"replace (.+) with (.+)", f"replace {match[2]} with {match[1]}")
    return bool(inner and _exchange(sentence, inner))


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
    sentence.verb, sentence.target = "remove", name_of(match[2] or "")
    take_away(sentence, match[1], name_of(match[2] or ""))


@_rule(rf"({NP}) (?:away|off|out)")
def _off(sentence: Sentence, match: re.Match[str]) -> bool:
    phrase = noun_phrase(match[1])
    if phrase is None or phrase.noun not in sentence.accessories:
        return False
    take_away(sentence, match[1], "")
    return True


@_rule(rf"(?:allow|permit) ({NP})(?: again)?")
@_rule(rf"({NP}) (?:is|are) (?:fine|ok|okay|allowed|all right)")
def _allow(sentence: Sentence, match: re.Match[str]) -> bool:
    phrase = noun_phrase(match[1])
    if phrase is None or phrase.noun not in " ".join(sentence.state.avoid).split():
        return False
    sentence.edit("allow", value=next(w for w in sentence.state.avoid if phrase.noun in w.split()))
    return True


@_rule(rf"(?:put|place|set) ({NP}) on(?:to)? ({NP})")
def _put_on(sentence: Sentence, match: re.Match[str]) -> bool:
    phrase, owner = noun_phrase(match[1]), noun_phrase(match[2].removesuffix(" head").removesuffix("'s"))
    if phrase is None or not phrase.is_accessory or owner is None:
        return False
    dress(sentence, phrase, name_of(match[2]))
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
            dress(sentence, phrase, " ".join(parts[:at]))
            return True
    return False


@_rule(rf"(?:add|put on|with|wearing|wear|in|and|plus) ({NP})(?: (?:to|on) ({NP}))?")
def _add_to(sentence: Sentence, match: re.Match[str]) -> bool:
    phrase = noun_phrase(match[1])
    if phrase is None or not phrase.is_accessory:
        return False
    dress(sentence, phrase, name_of(match[2] or ""))
    return True


@_rule(rf"(?:add|put|place|insert|include|paint in|there should be|i want) ({NP}) (?:{RELATED})(?: ({NP}))?")
@_rule(rf"(?:add|insert|include|there should be|i want) ({NP})")
def _add_thing(sentence: Sentence, match: re.Match[str]) -> bool:
    phrase = noun_phrase(match[1])
    if phrase is None or phrase.is_accessory or phrase.noun in ("it", "him", "her", "them"):
        return False
    inner = re.search(rf" ({RELATED})(?: {NP})?$", match[0])
    if match[0].startswith(("put", "place")) and sentence.is_thing(phrase.noun) and phrase.article in ("the", ""):
        return False
    enter(sentence, phrase, inner[1] if inner else "")
    return True


@_rule(rf"(?:move |put |place |shift )?(?:({NP}) )?(?:to|on|in|at|into) the ({one_of(REGIONS)})(?: (?:side|half))?")
def _region(sentence: Sentence, match: re.Match[str]) -> None:
    sentence.edit("region", target=name_of(match[1] or ""), value=match[2].replace("-", " "))


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


@_rule(rf"(?:make|colour|color|paint|turn|let|have|dye) ({NP}) (?:be |look |to be )?([\w-]+)(?: again)?")
@_rule(rf"({NP}) (?:is|are|should be|looks|becomes|to be|be) (?:now )?([\w-]+)")
def _make(sentence: Sentence, match: re.Match[str]) -> bool:
    kind, word = adjective(match[2])
    phrase = noun_phrase(match[1])
    if not kind or phrase is None:
        return False
    if phrase.noun in ("picture", "whole", "everything"):
        return False
    recolour(sentence, phrase, kind, word)
    return True


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
