"""The face set: fifteen people whom no training picture shows and forty prompts, each with the truth to judge answers
by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .graph import Garment, Person, SceneGraph
from .portraits import person_showing

PEOPLE = (
    2_000_003, 2_000_079, 2_000_096, 2_000_269, 2_000_344, 2_000_385, 2_000_422, 2_000_476, 2_000_482, 2_000_490, 2_000_500,
    2_000_522, 2_000_561, 2_000_563, 2_000_565,
)  # fmt: skip
"""Seeds of `faces.person`, of SPLITS["held-out"]: four children, seven adults and four old people of every hairstyle
and hair colour, light and dark. Chosen one by one so that each differs most from those before."""

KINDS = ("accessory", "style", "action", "context")


@dataclass(frozen=True)
class PeoplePrompt:
    """Something to ask of a taught person, and the truth to judge the answer by. Fields at their default are not asked
    for."""

    kind: str  # one of KINDS
    text: str  # with {} for the subject
    accessories: tuple[tuple[str, str], ...] = ()  # (name, colour)
    style: str = "render"
    expression: str = "neutral"
    gaze: str = "ahead"
    head: str = "ahead"
    action: str = "standing"
    scene: str | None = None
    daytime: str = "noon"
    asked: Mapping[str, str] = field(init=False)
    """Attributes that the prompt asks for: field of a graph or face -> its value; accessories -> their colour."""

    def __post_init__(self) -> None:
        plain = {"style": "render", "expression": "neutral", "gaze": "ahead", "head": "ahead", "action": "standing"}
        asked = {name: getattr(self, name) for name, usual in plain.items() if getattr(self, name) != usual}
        asked |= {"scene": self.scene} if self.scene else {}
        asked |= {"daytime": self.daytime} if self.daytime != "noon" else {}
        object.__setattr__(self, "asked", asked | dict(self.accessories))


def answer(prompt: PeoplePrompt, who: Person, *, seed: int, garment: Garment | None = None) -> SceneGraph:
    """A picture that answers the prompt right for this person, before a plain wall where no scene is asked for."""
    return person_showing(
        who,
        seed=seed,
        scene=prompt.scene or "studio",
        accessories=prompt.accessories,
        expression=prompt.expression,
        gaze=prompt.gaze,
        head=prompt.head,
        action=prompt.action,
        garment=garment,
        style=prompt.style,
        daytime=prompt.daytime,
    )


_P = PeoplePrompt
PROMPTS = (
    _P("accessory", "{} wearing a red hat", (("hat", "red"),)),
    _P("accessory", "{} wearing black sunglasses", (("sunglasses", "black"),)),
    _P("accessory", "{} wearing blue glasses", (("glasses", "blue"),)),
    _P("accessory", "{} wearing a green scarf", (("scarf", "green"),)),
    _P("accessory", "{} wearing a crown", (("crown", "red"),)),
    _P("accessory", "{} wearing purple headphones", (("headphones", "purple"),)),
    _P("accessory", "{} wearing a yellow necklace", (("necklace", "yellow"),)),
    _P("accessory", "{} wearing a red cape", (("cape", "red"),)),
    _P("accessory", "{} wearing a pink bow tie", (("bow tie", "pink"),)),
    _P("accessory", "{} wearing a blue hat and an orange scarf", (("hat", "blue"), ("scarf", "orange"))),
    _P("style", "a watercolour of {}", style="watercolour"),
    _P("style", "a line drawing of {}", style="line drawing"),
    _P("style", "pixel art of {}", style="pixel art"),
    _P("style", "pop art of {}", style="pop art"),
    _P("style", "a charcoal drawing of {}", style="charcoal"),
    _P("style", "stained glass of {}", style="stained glass"),
    _P("style", "a risograph of {}", style="risograph"),
    _P("style", "a clay figure of {}", style="clay"),
    _P("style", "an oil painting of {}", style="oil painting"),
    _P("style", "a woodcut of {}", style="woodcut"),
    _P("action", "{}, smiling", expression="smiling"),
    _P("action", "{}, looking sad", expression="sad"),
    _P("action", "{}, looking surprised", expression="surprised"),
    _P("action", "{}, looking angry", expression="angry"),
    _P("action", "{}, looking left", gaze="left"),
    _P("action", "{}, with closed eyes", gaze="closed"),
    _P("action", "{}, head turned right", head="right"),
    _P("action", "{}, waving", action="waving"),
    _P("action", "{}, thinking", action="thinking"),
    _P("action", "{}, with crossed arms", action="arms crossed"),
    _P("context", "{} on the beach", scene="beach"),
    _P("context", "{} in the snow", scene="snow"),
    _P("context", "{} in the jungle", scene="jungle"),
    _P("context", "{} in the desert", scene="desert"),
    _P("context", "{} in the kitchen", scene="kitchen"),
    _P("context", "{} on the moon", scene="moon"),
    _P("context", "{} in an autumn forest", scene="autumn forest"),
    _P("context", "{} on the sea at sunset", scene="sea", daytime="sunset"),
    _P("context", "{} in the city at night", scene="city", daytime="night"),
    _P("context", "{} in a meadow in the morning", scene="meadow", daytime="morning"),
)
