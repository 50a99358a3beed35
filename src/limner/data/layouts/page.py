"""An HTML page of thumbnails of a folder of pictures."""

from __future__ import annotations

from pathlib import Path

from limner.core.files import check_place, write_text

from .contents import Found


def write_page(path: Path, contents: Found) -> Path:
    """Write an HTML page of thumbnails with captions, masks and sizes. Raises `FileError` where `path` is a file that
    limner did not write."""
    from limner.core.escaping import html, html_page
    from limner.core.picture import html_image

    cells = []
    for item, reference in zip(contents.items, contents.references, strict=True):
        assert reference.image is not None
        mask = html_image(reference.mask, height=128)
        about = f"{item.path.name}, {reference.image.width}x{reference.image.height}"
        cells.append(
            html(
                "<figure>{}{}<figcaption>{}<br>{}</figcaption></figure>",
                html_image(reference.image, height=128),
                mask,
                about,
                item.caption,
            )
        )
    style = "body{font:15px/1.5 system-ui;margin:2rem}figure{display:inline-block;max-width:20rem;vertical-align:top}"
    text = html_page(contents.folder.name, style, [html("<pre>{}</pre>", str(contents)), *cells])
    return write_text(check_place(path, overwrite=True), text, overwrite=True)
