"""A person's choice among pictures: a page on which one clicks, and the file in which the choice comes back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from limner.core.choices import CHOICE, choice_folder, picture_file
from limner.core.escaping import html, html_page, join_html
from limner.core.files import write_text
from limner.errors import ChoiceNeeded, InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Adapted

    from .feedback import Choose

PAGE = "choose.html"
"""Page on which pictures are chosen."""
SAME = 0.02
"""Largest mean difference, of 1, between the pictures that were chosen from and the same ones sampled again."""

_STYLE = """
body { font-family: sans-serif; margin: 2em }
button.picture { border: 4px solid #ddd; background: none; padding: 4px; margin: 4px }
button.picture[aria-pressed="true"] { border-color: #2a7; }
button.picture img { display: block; width: 192px; image-rendering: auto }
"""
_SCRIPT = """<script>
const pictures = [...document.querySelectorAll("button.picture")];
const numbers = document.getElementById("numbers"), save = document.getElementById("save");
function show() {{
  const chosen = pictures.filter(p => p.getAttribute("aria-pressed") === "true").map(p => p.dataset.number);
  numbers.value = chosen.join(" ");
  save.href = URL.createObjectURL(new Blob([numbers.value + "\\n"], {{ type: "text/plain" }}));
}}
pictures.forEach(p => p.addEventListener("click", () => {{
  p.setAttribute("aria-pressed", p.getAttribute("aria-pressed") !== "true");
  show();
}}));
show();
</script>"""


def by_hand(folder: Path | str) -> Choose:
    """Choose the pictures whose numbers a person wrote into `chosen.txt` beside them.

    A page, `choose.html`, stands beside the pictures; one clicks pictures on it and saves the file. Without the file
    the run ends with a `ChoiceNeeded` that asks for it; started again, it samples the same pictures and reads it.

    folder: folder for the pictures; each round needs its own
    """

    def choose(adapted: Adapted, pixels: Tensor, prompts: Sequence[str], keep: int) -> Sequence[int]:
        place = choice_folder(folder)
        if not (place / CHOICE).is_file():
            _save(place, pixels, prompts, keep)
            needed = ChoiceNeeded(
                f"choose at most {keep} of the {len(pixels)} pictures in {place}: open {place / PAGE}, click the good "
                f"ones and save {CHOICE} there, or write their numbers into {place / CHOICE}, such as 0 3 7; then start "
                "again (--resume goes on from here)"
            )
            needed.folder, needed.prompts, needed.keep = place, tuple(prompts), keep
            raise needed
        _check_same(place, pixels)
        words = (place / CHOICE).read_text(encoding="utf-8").replace(",", " ").split()
        if not all(word.isdecimal() for word in words) or len(words) > keep:
            raise InputError(
                f"{place / CHOICE} must hold at most {keep} whole numbers, such as 0 3 7, not {' '.join(words)[:100]!r}"
            )
        return [int(word) for word in words]

    return choose


def _save(folder: Path, pixels: Tensor, prompts: Sequence[str], keep: int) -> None:
    """Write the pictures and the page."""
    from limner.core.picture import Picture
    from limner.core.pixels import to_images

    for k, (image, prompt) in enumerate(zip(to_images(pixels), prompts, strict=True)):
        Picture(image, prompt, k, (), "", {}).save(picture_file(folder, k), overwrite=True)
    write_text(folder / PAGE, page(prompts, keep), overwrite=True)


def page(prompts: Sequence[str], keep: int) -> str:
    """The page, which shows 000.png and so on beside it.

    prompts: the pictures' prompts
    keep: largest number of pictures to choose
    """
    shown = join_html(
        html(
            '<button class="picture" type="button" data-number="{}" aria-pressed="false"><img src="{}.png" alt="{}">'
            "{} · {}</button>",
            *(k, f"{k:03}", prompt, k, prompt),
        )
        for k, prompt in enumerate(prompts)
    )
    form = html(
        "<h1>Choose pictures</h1><p>Click at most {} pictures that show what their prompts say, in the style that is "
        'wanted. Then save the file into this folder as {}.</p><p><input id="numbers" readonly size="60"> '
        '<a id="save" download="{}" href="#">save {}</a></p>',
        *(keep, CHOICE, CHOICE, CHOICE),
    )
    return str(html_page("Choose pictures", _STYLE, [form, html("<div>{}</div>", shown), html(_SCRIPT)]))


def _check_same(folder: Path, pixels: Tensor) -> None:
    """Raise `InputError` where the pictures in the folder are not those that are sampled now. A folder without any, as
    on another machine, holds the choice alone."""
    from limner.core.pixels import to_tensor
    from limner.core.subject import read_picture

    if not any(picture_file(folder, k).exists() for k in range(len(pixels))):
        return
    for k, picture in enumerate(pixels.cpu()):
        path = picture_file(folder, k)
        image = read_picture(path)[0].image if path.is_file() else None
        if image is None or float((to_tensor([image], picture.shape[-1])[0] - picture).abs().mean()) > SAME:
            raise InputError(
                f"{folder / CHOICE} chooses among other pictures than are painted now ({path.name} differs): delete "
                "the folder, start again, and choose anew"
            )
