"""Words of English that the grammar sorts phrases by. They name things that people ask of pictures in general; which of
them a base can show is a question to its vocabulary (`vocabulary.py`)."""

from __future__ import annotations

from limner.core.word_classes import ADJECTIVES, VERBS

ACCESSORIES = frozenset([
    "hat", "cap", "beanie", "helmet", "crown", "tiara", "sunglasses", "shades", "glasses", "goggles", "scarf", "cape",
    "cloak", "tie", "bow-tie", "collar", "coat", "jacket", "shirt", "t-shirt", "sweater", "jumper", "dress", "skirt",
    "trousers", "jeans", "shorts", "boots", "shoes", "socks", "gloves", "mask", "necklace", "ribbon", "bow", "wig",
    "backpack", "bag", "balloon", "umbrella", "flower", "apron", "medal", "badge", "belt", "vest", "hoodie",
])  # fmt: skip
"""Things that are put on another thing, or into its hand."""

PLACE_NOUNS = frozenset([
    "beach", "snow", "jungle", "city", "desert", "sky", "kitchen", "meadow", "road", "street", "sea", "ocean",
    "studio", "moon", "forest", "bedroom", "garden", "park", "river", "lake", "mountain", "mountains", "village",
    "house", "room", "office", "castle", "church", "station", "market", "library", "school", "stage", "field", "cave",
    "island", "bridge", "harbour", "farm", "barn", "bathroom", "cellar", "attic", "roof", "shop", "cafe", "bar",
    "museum", "stadium", "valley", "swamp", "volcano", "space", "table", "sofa", "bed", "floor", "carpet", "grass",
    "lawn", "pool", "ship", "train", "ruins", "canyon", "glacier",
])  # fmt: skip
"""Nouns of places."""

STYLES: dict[str, str] = {
    "watercolour": "a watercolour of", "watercolor": "a watercolour of", "line drawing": "a line drawing of",
    "pixel art": "pixel art of", "pop art": "pop art of", "charcoal drawing": "a charcoal drawing of",
    "charcoal": "a charcoal drawing of", "stained glass": "stained glass of", "risograph": "a risograph of",
    "clay figure": "a clay figure of", "clay": "a clay figure of", "oil painting": "an oil painting of",
    "woodcut": "a woodcut of", "mosaic": "a mosaic of", "sketch": "a sketch of", "pencil drawing": "a pencil drawing of",
    "cartoon": "a cartoon of", "comic": "a comic of", "engraving": "an engraving of", "drawing": "a drawing of",
    "painting": "a painting of", "crayon drawing": "a crayon drawing of", "portrait": "a portrait of",
    "close-up": "a close-up of", "close up": "a close-up of", "photograph": "a photo of", "photo": "a photo of",
}  # fmt: skip
"""Style in a sentence -> the words that a prompt begins with; longer ones are looked for first."""

TIMES: dict[str, str] = {
    "at night": "at night", "by night": "at night", "night": "at night", "at midnight": "at night",
    "at sunset": "at sunset", "sunset": "at sunset", "at dusk": "at sunset", "in the evening": "at sunset",
    "in the morning": "in the morning", "morning": "in the morning", "at dawn": "in the morning", "at noon": "at noon",
    "at sunrise": "in the morning", "by day": "by day", "in daylight": "by day",
}  # fmt: skip

VIEWS: dict[str, str] = {
    "from the side": "from the side", "side view": "from the side", "in profile": "from the side",
    "from the front": "from the front", "front view": "from the front", "from behind": "from behind",
    "from the back": "from behind", "back view": "from behind", "from above": "from above", "top view": "from above",
    "from the left": "from the left", "from the right": "from the right", "from below": "from below",
}  # fmt: skip

GERUNDS: dict[str, str] = {
    **{word: word for word in VERBS if word.endswith("ing") and word != "wearing"},
    **{word.removesuffix("ing"): word for word in VERBS if word.endswith("ing") and word != "wearing"},
    "sit": "sitting", "sit down": "sitting", "sitting down": "sitting", "run": "running", "lie": "lying down",
    "lie down": "lying down", "lying": "lying down", "lying down": "lying down", "stand up": "standing",
    "wave": "waving", "dance": "dancing", "ride": "riding", "swim": "swimming", "smile": "smiling",
    "smiling": "smiling", "jump up": "jumping", "waving a hand": "waving", "bite": "biting", "hide": "hiding",
}  # fmt: skip
"""Verb in a sentence -> its form in a prompt."""

COLOURS = frozenset(ADJECTIVES["colour"]) | {"crimson", "scarlet", "navy", "violet", "turquoise", "beige", "maroon"}
LOOKS = frozenset(word for kind in ("pattern", "material", "age", "size", "mood") for word in ADJECTIVES[kind])

RELATIONS = ("next to", "beside", "in front of", "behind", "on top of", "under", "inside", "holding", "on")
PLACES = ("on", "in", "at", "under", "inside", "near", "by", "over", "above", "to", "into", "onto")
SCENE_WORDS = ("background", "scene", "place", "setting", "surroundings", "location")
PRONOUNS = ("it", "him", "her", "he", "she", "this", "that", "the subject", "the one", "its", "his")
ALL = ("them", "they", "both", "both of them", "all of them", "everyone", "everybody", "all")
REST = (
    "everything else", "the rest", "anything else", "all else", "the rest of it", "the same", "the same picture", "it",
)  # fmt: skip

ORDINALS: dict[str, int] = {
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10, "1st": 1, "2nd": 2, "3rd": 3, "last": -1, "latest": -1,
}  # fmt: skip

SYNONYMS: dict[str, tuple[str, ...]] = {
    "seaside": ("beach",), "shore": ("beach",), "coast": ("beach",), "sand": ("beach",), "woods": ("forest",),
    "wood": ("forest",), "rainforest": ("jungle",), "ocean": ("sea",), "lake": ("sea",), "town": ("city",),
    "downtown": ("city",), "field": ("meadow",), "grass": ("meadow",), "lawn": ("meadow",), "street": ("road",),
    "highway": ("road",), "space": ("moon",), "dunes": ("desert",), "ice": ("snow",), "hound": ("dog",),
    "doggy": ("dog", "puppy"), "pup": ("puppy", "dog"), "kitten": ("kitty", "cat"), "hare": ("rabbit",),
    "automobile": ("car",), "vehicle": ("car",), "lorry": ("truck",), "aeroplane": ("airplane", "plane"),
    "jet": ("plane",), "kettle": ("teapot",), "shades": ("sunglasses",), "goggles": ("sunglasses",), "cap": ("hat",),
    "beanie": ("hat",), "helmet": ("hat",), "tiara": ("crown",), "cloak": ("cape",), "shawl": ("scarf",),
    "bow-tie": ("bow tie",), "grey": ("gray",), "crimson": ("red",), "scarlet": ("red",), "maroon": ("red",),
    "navy": ("blue",), "golden": ("yellow",), "violet": ("purple",), "turquoise": ("teal",), "beige": ("brown",),
    "silver": ("gray",), "dotted": ("spotted",), "noon": ("morning",), "dawn": ("morning",), "sketch": ("drawing",),
    "pencil": ("line",), "painting": ("watercolour",), "running": ("walking",), "house": ("home",),
}  # fmt: skip
"""Word -> words of nearly its meaning, for a base that does not know it; the nearest first."""

FILLERS = (
    "please", "now", "just", "also", "can you", "could you", "would you", "i want", "i would like", "i'd like", "let's",
    "let us", "maybe", "again", "instead", "too", "as well", "only", "here", "okay", "ok", "so", "well", "but", "and",
    "then", "try", "how about", "what about", "should", "must", "to see", "you to",
)  # fmt: skip
