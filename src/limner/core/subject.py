"""The user's input: pictures of one subject, its class noun, and its handle, the word for it in prompts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import InputError, PictureError

from . import heic
from .cameras import CAMERAS, cameras_beside, viewpoints_of, views_by_picture
from .consent import Consent
from .decoding import converted, converted_mask, decoded, decoded_mask
from .style_captions import style_notes
from .untrusted import inside
from .wording import shortened

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from .faces import FaceNetworks


BEFORE, BESIDE = "before", "beside"
"""Fields of a subject's card that list the cards of the subjects learned before and beside it in one concept."""
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"),
    *(heic.SUFFIXES if heic.can_read() else ()),
)
"""Suffixes of the files that are read as pictures in folders."""
KINDS = ("object", "pet", "face", "style", "action", "relation")


@dataclass(frozen=True)
class Reference:
    """One reference image of the subject. `image` is RGB, or None for a subject that was read from a concept's
    header."""

    name: str
    sha256: str  # hash of the decoded pixels
    image: Image.Image | None = field(default=None, repr=False, compare=False)
    caption: str = ""
    mask: Image.Image | None = field(default=None, repr=False, compare=False)  # "L", white where the subject is
    # the camera: azimuth and elevation in degrees, and distance (`core.views`); None: unknown
    view: tuple[float, float, float] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Subject:
    """One subject. Make it with `Subject.of`."""

    handle: str  # the word for it in prompts: "<rex>"
    noun: str  # its class: "dog"
    pictures: tuple[Reference, ...] = ()
    kind: str = "object"
    notes: tuple[str, ...] = ()  # lines for the user about its pictures
    without: tuple[Reference, ...] = ()  # pictures without the property to learn: the other half of contrast pairs
    pool: tuple[Reference, ...] = ()  # unsorted pictures that may show it too
    auxiliary: tuple[Reference, ...] = ()  # pictures of other things, learned under the class noun alone
    consent: Consent | None = None  # for a face: the person shown, and the guardian who agreed
    before: tuple[Subject, ...] = ()  # subjects that the same concept learned before it, the first one first
    # further subjects of the same concept, with handles of their own; those without pictures are shown in its pictures
    beside: tuple[Subject, ...] = ()
    faces_alone: bool = field(default=False, compare=False)  # whether the pictures have been cut to the face
    # "masks" once these were read, "auxiliary" once a method asked for those pictures
    uses: set[str] = field(default_factory=set, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        source: object,
        *,
        noun: str,
        handle: str,
        kind: str = "object",
        captions: Mapping[str, str] | Sequence[str] = (),
        masks: Sequence[object] = (),
        without: object = (),
        pool: object = (),
        auxiliary: object = (),
        faces: FaceNetworks | None = None,
        which: int | None = None,
        consent: Consent | str | None = None,
        beside: Sequence[Subject] = (),
        views: Mapping[str, Any] | Sequence[Sequence[float]] = (),
    ) -> Subject:
        """Read a subject from a folder, a file, or a list of files, PIL pictures, [3, H, W] tensors in [0, 1] or
        references.

        Args:
            source: a folder, a file, or a list of files, PIL pictures, tensors or references. In a folder, other files
                and subfolders are skipped and named in `notes`.
            noun: class noun: "dog"; of a style its words: "watercolour style".
            handle: word for the subject in prompts, with or without angle brackets.
            kind: one of KINDS. Pictures of a style, one to ten by one hand, have captions that name their content.
            captions: captions by file name, or in the order of the pictures. A caption replaces the method's own
                templates for its picture and must contain the handle.
            masks: masks in the order of the pictures, white where the subject is. Without them, a mask is taken from a
                picture's transparency, from a file NAME-masklabel.png or NAME.mask.png beside it, or from a file of the
                same name in a folder masks/, mask/ or conditioning/ (in any picture format).
            without: pictures without the property to learn (the contents of a style without the style, the other state
                of a pair); only some methods use them.
            pool: unsorted pictures that may show the subject, such as the results of a search; only some methods use
                them.
            auxiliary: pictures of other things that guide how these look in a style, such as people where the style's
                pictures show none; only some methods use them.
            faces: for kind "face": networks that find the face in each picture (`bases.common.faces.open_faces`), which
                is then rotated upright and cut out. None leaves this to `learn`, which uses the base's networks.
            which: for kind "face": the person's position from the left, counted from 1, in pictures of several people.
            consent: for kind "face": the person's name or a `Consent`. `learn` refuses a face without it.
            beside: further subjects to learn into the same concept, with handles of their own (a component, a second
                toy). Those without pictures (`Subject.shown_with`) are in the pictures of this one. Only methods for
                several subjects use them.
            views: the camera of each picture, by file name or in the order of the pictures: azimuth around the subject
                (0 in front of it, positive towards its left) and elevation in degrees, and distance in any unit.
                Without them, they are taken from a file cameras.json in the folder, {"0.jpg": [45, 10, 2.5], ...}. Only
                some methods use them.

        Raises `InputError` for a noun or handle that cannot be used, and `PictureError` when pictures cannot be read.
        """
        name = check_name(handle)
        noun = check_noun(noun)
        if name == noun.lower():
            raise InputError(f"the name {name!r} is the class noun itself; give the subject a name of its own")
        if kind not in KINDS:
            raise InputError(f"the kind must be one of {', '.join(KINDS)}, not {kind!r}")
        read, notes = read_all(source)
        if not read:
            raise PictureError("there are no pictures to learn from: expected one or more (three to five are best)")
        if len(read) == 1 and kind != "style":
            notes.append("only one picture: the subject's other sides are unknown; three to five are better")
        cameras = views_by_picture([reference.name for reference in read], views or cameras_beside(source))
        read = [replace(r, view=view) if view else r for r, view in zip(read, cameras, strict=True)]
        read = _masked(_captioned(read, captions, f"<{name}>"), masks)
        notes += picture_notes(read)
        if kind == "style":
            notes += style_notes([picture.caption for picture in read], f"<{name}>")
        lists = {"without": without, "pool": pool, "auxiliary": auxiliary}
        more: dict[str, Any] = {key: tuple(read_all(pictures)[0]) for key, pictures in lists.items()}
        subject = cls(f"<{name}>", noun, tuple(read), kind, tuple(notes), consent=Consent.of(consent), **more)
        subject = subject.with_beside(beside)
        if kind != "face" and (faces is not None or which is not None or consent is not None):
            raise InputError(
                f"faces, which and consent are about faces: give kind='face', or leave them out of a {kind}"
            )
        return subject if faces is None else subject.with_faces_alone(faces, which=which)

    @classmethod
    def shown_with(cls, handle: str, *, noun: str) -> Subject:
        """A further subject that has no pictures of its own, since those of another subject show it.

        Args:
            handle: word for the subject in prompts, with or without angle brackets.
            noun: class noun: "car".

        Raises `InputError` for a noun or handle that cannot be used.
        """
        return cls(f"<{check_name(handle)}>", check_noun(noun))

    def with_beside(self, beside: Sequence[Subject]) -> Subject:
        """The subject with these further subjects of its concept. Raises `InputError` where two have one handle, for a
        face, and for further subjects of a further subject."""
        handles = [self.handle, *(other.handle for other in beside)]
        twice = next((handle for handle in handles if handles.count(handle) > 1), None)
        if twice is not None:
            raise InputError(f"two subjects of one concept are called {twice}: give each a handle of its own")
        face = next((other.handle for other in beside if other.kind == "face"), None)
        if face is not None:
            raise InputError(f"{face} is a face, which needs consent of its own: learn every person as a subject alone")
        nested = next((other.handle for other in beside if other.beside), None)
        if nested is not None:
            raise InputError(f"{nested} has further subjects itself: give all of them to {self.handle}")
        return replace(self, beside=tuple(beside))

    def with_faces_alone(self, faces: FaceNetworks, *, which: int | None = None) -> Subject:
        """The subject with its pictures cut to the face; `notes` name each picture that is left out. Raises
        `PictureError` where no picture has a usable face, and `InputError` where it is not clear which person is
        meant."""
        from .face_pictures import faces_alone

        cuts, notes = faces_alone(self.pictures, faces, which=which)
        pictures = tuple(
            replace(self.pictures[cut.place], sha256=_sha256(cut.image), image=cut.image, mask=cut.mask) for cut in cuts
        )
        return replace(self, pictures=pictures, notes=(*self.notes, *notes), faces_alone=True)

    @property
    def name(self) -> str:
        return self.handle.strip("<>")

    @property
    def contrast(self) -> Subject:
        """The pictures of `without` as a subject of their own."""
        return replace(self, pictures=self.without, without=())

    def tensor(self, size: int) -> Tensor:
        """[n, 3, size, size] in [0, 1]: the middle square of every picture."""
        import numpy as np
        import torch
        from PIL import Image, ImageOps

        squares = []
        for picture in self.pictures:
            if picture.image is None:
                raise PictureError(
                    f"the pixels of {picture.name} are not in the concept's file; give its pictures again"
                )
            square = ImageOps.fit(picture.image, (size, size), Image.Resampling.LANCZOS)
            squares.append(torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255)
        # the order in memory decides which kernels run; latents made of these are contiguous when read from a file
        return torch.stack(squares).contiguous()

    def masks(self, size: int) -> Tensor | None:
        """[n, 1, size, size] in [0, 1]: the middle squares of the masks; None unless every picture has a mask. Raises
        `InputError` where the subject lies outside of a picture's middle square."""
        import numpy as np
        import torch
        from PIL import Image, ImageOps

        self.uses.add("masks")
        shown = [picture.mask for picture in self.pictures if picture.mask is not None]
        if len(shown) < len(self.pictures) or not shown:
            return None
        outside = [picture.name for picture in self.pictures if _cut_away(picture)]
        if outside:
            raise InputError(
                f"the mask of {outside[0]} shows the subject outside the middle square, which is all that is learned "
                "from; crop the picture and its mask to a square around the subject"
            )
        square = [ImageOps.fit(mask, (size, size), Image.Resampling.BILINEAR) for mask in shown]
        return torch.stack([torch.from_numpy(np.array(mask))[None].float() / 255 for mask in square])

    def viewpoints(self) -> Tensor:
        """[n, 3]: the camera of every picture, azimuth and elevation in radians, and distance (`core.views`). Raises
        `InputError` for a picture whose camera is unknown."""
        return viewpoints_of([(picture.name, picture.view) for picture in self.pictures], self.handle)

    def card(self) -> dict[str, Any]:
        """The subject without its pixels, for a concept's header."""
        pictures = [{"name": _written(p.name), "sha256": p.sha256, "caption": p.caption} for p in self.pictures]
        consent = {"consent": self.consent.card()} if self.consent is not None else {}
        lists = {BEFORE: self.before, BESIDE: self.beside}
        cards = {name: [subject.card() for subject in subjects] for name, subjects in lists.items() if subjects}
        about = {"handle": self.handle, "noun": self.noun, "kind": self.kind, "pictures": pictures}
        return {**about, **consent, **cards}

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Subject:
        """The subject of a saved concept, without the pixels of its pictures."""
        pictures = tuple(Reference(p["name"], p["sha256"], caption=p["caption"]) for p in card["pictures"])
        consent = Consent(**card["consent"]) if "consent" in card else None
        before, beside = (tuple(map(cls.from_card, card.get(name, ()))) for name in (BEFORE, BESIDE))
        return cls(card["handle"], card["noun"], pictures, card["kind"], consent=consent, before=before, beside=beside)

    def _repr_html_(self) -> str:
        from .escaping import html, join_html
        from .picture import html_image
        from .wording import with_article

        shown = join_html(html_image(p.image, height=128) for p in self.pictures)
        return html("<div><b>{}</b>, {}<br>{}</div>", self.name, with_article(self.noun), shown)


def _written(name: str) -> str:
    """A file's name as text, with bytes that are not UTF-8 escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def check_name(handle: str) -> str:
    """The bare name of a handle given as "rex" or "<rex>". Raises `InputError` for anything else."""
    name = handle.strip().removeprefix("<").removesuffix(">")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,30}", name):
        raise InputError(
            f"the name must be letters, digits, '-' or '_', from 1 to 31 of them, such as 'rex', not {handle!r}"
        )
    return name.lower()


def check_noun(noun: str) -> str:
    """The class noun without surrounding spaces. Raises `InputError` unless it consists of plain words."""
    noun = noun.strip()
    if not re.fullmatch(r"[\w '-]{1,100}", noun):
        raise InputError(f"the class noun must be a plain word such as 'dog', not {noun[:100]!r}")
    return noun


def read_picture(source: object, *, name: str = "picture") -> tuple[Reference, list[str]]:
    """One picture as RGB, and notes about it: rotated as its EXIF says, white where it is transparent, 16 bits scaled
    to 8, the first frame of an animation, reduced to `decoding.KEPT_PIXELS`. Raises `PictureError` for a picture that
    cannot be decoded, is of a format that is not among `decoding.FORMATS`, or is larger than `decoding.MAX_PIXELS`."""
    from PIL import Image

    mask = None
    if isinstance(source, (str, Path)):
        name = Path(source).name
        picture, beside = decoded(Path(source), name=str(source)), mask_beside(Path(source))
        mask = read_mask(inside(beside, Path(source).parent)) if beside else None
    elif isinstance(source, bytes):
        picture = decoded(source, name=name)
    else:
        picture = converted(source if isinstance(source, Image.Image) else _from_array(source, name), name=name)
    notes = [f"{name} is animated: its first frame is used"] if picture.animated else []
    rgb, (wide, high) = picture.rgb, picture.whole_size
    if rgb.size != picture.whole_size:
        notes.append(f"{name} is {wide} x {high} pixels: reduced to {rgb.width} x {rgb.height}")
    return Reference(name, _sha256(rgb), rgb, mask=mask or picture.opaque), notes


def _sha256(image: Image.Image) -> str:
    """Hash of the pixels."""
    return hashlib.sha256(image.tobytes()).hexdigest()


def read_all(source: object) -> tuple[list[Reference], list[str]]:
    """The pictures of a folder, a file or a list, as `Subject.of` takes them, and notes about files that are left out.
    Raises `PictureError` for a picture that cannot be read."""
    items, notes = _items(source)
    references: list[Reference] = []
    for index, item in enumerate(items):
        reference, more = (item, []) if isinstance(item, Reference) else read_picture(item, name=f"picture {index + 1}")
        if reference.sha256 in {r.sha256 for r in references}:
            caption = f", and so is its caption {reference.caption!r}" if reference.caption else ""
            notes.append(f"{reference.name} is the same picture as an earlier one; it is left out{caption}")
            continue
        references.append(reference)
        notes += more
    return references, notes


def _items(source: object) -> tuple[list[object], list[str]]:
    if isinstance(source, (str, Path)):
        path = Path(source).expanduser()
        if path.is_dir():
            return _in_folder(path)
        if not path.exists():
            raise PictureError(f"there is no file or folder {path}")
        return [path], []
    if hasattr(source, "ndim") and getattr(source, "ndim", 0) == 4:
        return list(source), []  # type: ignore[call-overload]  # tensors and arrays alike, neither imported here
    if isinstance(source, Iterable) and not hasattr(source, "ndim") and not hasattr(source, "mode"):
        items: list[object] = []
        notes: list[str] = []
        for item in source:
            if isinstance(item, (str, Path)):
                more, more_notes = _items(item)
                items, notes = items + more, notes + more_notes
            else:
                items.append(item)
        return items, notes
    return [source], []


def _in_folder(folder: Path) -> tuple[list[object], list[str]]:
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    files = [p for p in files if not is_mask(p)]
    good = [inside(p, folder) for p in files if p.suffix.lower() in SUFFIXES]
    other = [p.name for p in files if p not in good and p.name != CAMERAS]
    if not good:
        raise no_pictures(folder)
    return list(good), [f"skipped, not a picture: {name}" for name in other] + [
        f"skipped: {line}" for line in pictures_below(folder)
    ]


def no_pictures(folder: Path) -> PictureError:
    """The error for a folder without readable pictures. It mentions pictures in HEIC, which need a decoder."""
    unread = heic.unread_note([folder])
    return PictureError(
        f"there are no pictures in {folder}; expected files that end in {', '.join(SUFFIXES)}"
        + (f"; {unread}" if unread else "")
    )


MASKS = ("-masklabel", ".mask")
"""Endings of the stem of a mask's file beside its picture."""


MASK_FOLDERS = ("masks", "mask", "conditioning")
"""Folders beside pictures that hold their masks."""


def is_mask(path: Path) -> bool:
    """Whether a file is the mask of another file, by its name."""
    return path.suffix.lower() in SUFFIXES and path.stem.endswith(MASKS)


def mask_beside(picture: Path, folder: Path | None = None) -> Path | None:
    """The file of a picture's mask, in `folder` or else beside the picture; None where there is none."""
    stems = [picture.with_name(picture.stem + ending) for ending in MASKS]
    stems += [picture.parent / name / picture.stem for name in MASK_FOLDERS]
    stems = [folder / picture.stem] if folder else stems
    places = [stem.with_name(stem.name + suffix) for stem in stems for suffix in SUFFIXES]
    return next((place for place in places if place.is_file()), None)


def read_mask(source: object, *, name: str = "the mask") -> Image.Image:
    """A mask (a file, its bytes, a PIL picture or an array) as "L", rotated as its EXIF says, black where it is
    transparent. Raises `PictureError` where it cannot be decoded."""
    from PIL import Image

    if isinstance(source, (str, Path)):
        return decoded_mask(Path(source), name=str(source))
    if isinstance(source, bytes):
        return decoded_mask(source, name=name)
    return converted_mask(source if isinstance(source, Image.Image) else _from_array(source, name), name=name)


def pictures_below(folder: Path) -> list[str]:
    """A line for each subfolder with pictures, which are not read. Folders of masks are not mentioned."""
    lines = []
    for place in sorted(p for p in folder.rglob("*") if p.is_dir()):
        below = place.relative_to(folder)
        if any(part in MASK_FOLDERS or part.startswith(".") for part in below.parts):
            continue
        count = sum(p.suffix.lower() in SUFFIXES and not is_mask(p) for p in place.iterdir() if p.is_file())
        if count:
            lines.append(f"{below}/, a folder below with {count} picture{'s' if count > 1 else ''}")
    return lines


CUT = 0.4
"""Share of a picture outside its middle square from which on the user gets a note: 3:2 loses 0.33, 16:9 0.44."""


def picture_notes(pictures: Sequence[Reference]) -> list[str]:
    """Lines for the user about parts of pictures outside the middle square, and about masks that are not used."""
    cut = [(1 - min(p.image.size) / max(p.image.size), p.name) for p in pictures if p.image is not None]
    wide = [each for each in cut if each[0] > CUT]
    masked = [p.name for p in pictures if p.mask is not None]
    outside = [p.name for p in pictures if _cut_away(p)]
    notes = []
    if wide:
        share, name = max(wide)
        notes.append(
            f"only the middle square of a picture is learned from: {len(wide)} of {len(pictures)} pictures lose more "
            f"than {CUT:.0%}, {name} {share:.0%}; crop them to squares around the subject"
        )
    if masked and len(masked) < len(pictures):
        notes.append(
            f"{len(masked)} of {len(pictures)} pictures have a mask: masks are used only where every picture has one"
        )
    if outside:
        notes.append(
            f"the mask of {outside[0]} shows the subject outside the middle square, which is all that is learned from; "
            "crop it"
        )
    return notes


def small_notes(pictures: Sequence[Reference], side: int) -> list[str]:
    """A line for the user where a base with pictures of `side` pixels enlarges references more than twice."""
    small = [(min(p.image.size), p.name) for p in pictures if p.image is not None and 2 * min(p.image.size) < side]
    if not small:
        return []
    least, name = min(small)
    return [
        f"{len(small)} of {len(pictures)} pictures are small: a base that paints {side} pixels enlarges {name} "
        f"{side / least:.1f} times, which adds no detail"
    ]


def _cut_away(picture: Reference) -> bool:
    """Whether the mask lies outside of the middle square."""
    from PIL import ImageOps

    if picture.mask is None:
        return False
    side = min(picture.mask.size)
    square = ImageOps.fit(picture.mask, (side, side))
    return bool(sum(picture.mask.histogram()[128:])) and not sum(square.histogram()[128:])


def _masked(read: Sequence[Reference], masks: Sequence[object]) -> list[Reference]:
    if masks and len(masks) != len(read):
        raise InputError(f"there are {len(masks)} masks for {len(read)} pictures; give one each")
    given: list[Image.Image | None] = [read_mask(mask) for mask in masks]
    references = []
    for reference, mask in zip(read, given or [None] * len(read), strict=True):
        light = mask if mask is not None else reference.mask
        if light is not None and reference.image is not None and light.size != reference.image.size:
            raise InputError(
                f"the mask of {reference.name} is {light.size} and the picture {reference.image.size}; expected one size"
            )
        if light is not None and not sum(light.histogram()[128:]):
            raise InputError(f"the mask of {reference.name} is empty: expected white where the subject is")
        references.append(replace(reference, mask=light))
    return references


def _from_array(source: object, name: str) -> Image.Image:
    import numpy as np
    from PIL import Image

    try:
        array = np.asarray(source.cpu() if hasattr(source, "cpu") else source)
    except (TypeError, ValueError) as error:
        raise PictureError(
            f"{name} is a {type(source).__name__}; expected a file, a PIL picture or a [3, H, W] tensor"
        ) from error
    if array.ndim != 3 or array.shape[0] != 3:
        raise PictureError(f"{name} has shape {array.shape}; expected [3, H, W] in [0, 1]")
    if array.dtype != np.uint8:
        if not np.isfinite(array).all() or array.min() < -0.01 or array.max() > 1.01:
            raise PictureError(f"{name} has values outside [0, 1]")
        array = (array.clip(0, 1) * 255).round().astype(np.uint8)
    return Image.fromarray(array.transpose(1, 2, 0))


def _captioned(read: Sequence[Reference], captions: Mapping[str, str] | Sequence[str], handle: str) -> list[Reference]:
    if isinstance(captions, Mapping):
        names = [r.name for r in read]
        twice = next((name for name in captions if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(
                f"two pictures are called {twice}: give captions in the order of the pictures, not by name"
            )
        unknown = sorted(set(captions) - set(names))
        if unknown:
            raise InputError(f"there is a caption for {unknown[0]!r}, which is not among the pictures")
        given = [captions.get(r.name, r.caption) for r in read]
    else:
        given = list(captions) or [r.caption for r in read]
        if len(given) != len(read):
            raise InputError(f"there are {len(given)} captions for {len(read)} pictures; give one each")
    for text in given:
        if text and handle not in text:
            raise InputError(f"the caption {shortened(text)!r} does not name the subject; write {handle} in it")
    return [replace(r, caption=text) for r, text in zip(read, given, strict=True)]
