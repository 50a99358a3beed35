"""README's picture: the demo's sheet laid out wide, with its prompts.

python -m docs.banner    out/demo/grid.png, which `make demo` painted -> docs/images/banner.webp
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from limner.pocket.world.grammar import PROMPTS
from limner.workflows.demo import NAME

IMAGES = Path(__file__).parent / "images"
DEMO = Path(__file__).parent.parent / "out" / "demo" / "grid.png"
SIDE, GAP = 128, 4  # pixels, as the demo lays out its sheet
SEEDS = 2  # rows of painted pictures
HEAD, CAPTION = 24, 68  # pixels of text above the reference images, and above the painted pictures


def banner(sheet: Image.Image) -> Image.Image:
    """The reference images in a row, and below them a column for each prompt."""
    step, font = SIDE + GAP, ImageFont.load_default(size=13)
    wide = Image.new("RGB", (step * len(PROMPTS) - GAP, HEAD + step + CAPTION + step * SEEDS - GAP), "white")
    draw = ImageDraw.Draw(wide)
    draw.text((0, 4), "Learned from four pictures:", "black", font)
    for column in range(4):
        wide.paste(cell(sheet, 0, column), (step * column, HEAD))
    draw.text((0, HEAD + step + 2), "Painted for eight prompts, two seeds each:", "black", font)
    for column, prompt in enumerate(PROMPTS):
        lines = textwrap.wrap(prompt.text.format(f"<{NAME}>"), 21)
        draw.multiline_text((step * column, HEAD + step + 20), "\n".join(lines), "#2f6690", font, spacing=2)
        for seed in range(SEEDS):
            place = (step * column, HEAD + step + CAPTION + step * seed)
            wide.paste(cell(sheet, column + 1, seed), place)
    return wide


def cell(sheet: Image.Image, row: int, column: int) -> Image.Image:
    """One picture of the demo's sheet."""
    left, top = column * (SIDE + GAP), row * (SIDE + GAP)
    return sheet.crop((left, top, left + SIDE, top + SIDE))


if __name__ == "__main__":
    banner(Image.open(DEMO)).save(IMAGES / "banner.webp", quality=82, method=6)
