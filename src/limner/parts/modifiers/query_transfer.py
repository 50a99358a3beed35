"""Self-attention with the values of a style image and the queries of a content image (Portrait Diffusion,
arXiv:2312.02212)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live
from limner.errors import InputError
from limner.parts.encoders.latents import encoded
from limner.parts.encoders.looks import subject_references
from limner.parts.encoders.masks import subject_masks

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import LatentOperation, Moment
    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Kind, Pass

CONTENT = "content"
"""Name of the condition: the content image."""
LATENTS, CONTENT_MASK, STYLE_MASK = "content.latents", "content.mask", "style.mask"
PATH = "path of the content"


@dataclass(frozen=True)
class query_transfer:
    """Late self-attention layers read a style image; their queries are first the content's, then the target's own.

    Each branch has the rows [style, targets, contents]: the style is the reference stream, the contents are the
    parallel streams of the targets. With O_c = attention(Q_content, K_style, V_style), a target's output is O_c up to
    the share `switch` of the time, and then O_c + strength * (attention(Q_target, K_style, V_style) - O_c) (style
    guidance, Sec. 3 of arXiv:2312.02212, and style_attn_control.py of its authors). A content row's own output is O_c
    too. With masks "apart", queries in the content's subject attend to keys in the style's subject alone, and those of
    the background to the background. With "inside", content rows keep their own attention, which targets have as well
    outside of the subject, and until `switch` everywhere.

    The content image is the condition "content" where it is given in painting, else the first of the subject's pictures
    `without` the style. Without both, content rows are sampled from the prompts, and keep their own attention, since
    nothing else would bring them back to a content without the style.

    subject: the style: its first picture
    strength: strength of the target's own queries; 0 is the content's alone
    begin: share of the time, from the noisiest, in which nothing acts
    switch: share of the time, from the noisiest, up to which the queries are the content's
    layers_from: share of the self-attention layers, in the order in which they run, that stay unchanged
    masks: how masks restrict what is read: "none", "apart" or "inside"
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("self",)

    subject: Subject
    strength: float = 1.2
    begin: float = 0.08
    switch: float = 0.7
    layers_from: float = 0.625
    masks: str = "none"

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        self._check(scale)
        sites = [site for site in base.sites if site.kind == "self"]
        first = min(round(self.layers_from * len(sites)), len(sites) - 1)
        live = Live(self._tensors(base, stored), may_read=frozenset({CONTENT}))

        def operation(call: AttentionCall) -> AttentionCall:
            run = call.run
            streams = run.reference_stream and run.parallel_stream and run.time is not None
            if call.site.kind == "self" and live.on and streams and call.site.index >= first:
                assert run.time is not None
                passed = 1 - float(run.time[0]) / base.num_train_times
                if passed >= self.begin:
                    call.on_output.append(self._transfer(base, live, call, late=passed >= self.switch))
            return call

        if scale:
            live.operations = (operation,)
        yield live

    def _check(self, scale: float) -> None:
        if scale not in (0, 1):
            raise InputError(
                f"{self.subject.handle} acts in sampling in a way that cannot be scaled: it can be attached at scale 0 or "
                f"1, not {scale:g}"
            )
        if self.masks not in ("none", "apart", "inside"):
            raise InputError(f"masks must be 'none', 'apart' or 'inside', not {self.masks!r}")
        if not 0 <= self.begin <= self.switch <= 1 or not 0 <= self.layers_from <= 1:
            raise InputError(
                "begin, switch and layers_from are shares from 0 to 1 with begin before switch, not "
                f"{self.begin:g}, {self.switch:g} and {self.layers_from:g}"
            )

    def _tensors(self, base: Base, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Latents of the content image and both masks, as far as there are any."""
        known = (LATENTS, CONTENT_MASK, STYLE_MASK)
        if any(name in stored for name in known):
            return {name: stored[name].to(base.device, base.dtype) for name in known if name in stored}
        tensors: dict[str, Tensor] = {}
        masked = self.masks != "none" and bool(self.subject.pictures)
        if masked:
            tensors[STYLE_MASK] = subject_masks(base, _first(self.subject))
        if self.subject.without and self.subject.without[0].image is not None:
            content = _first(self.subject.contrast)
            tensors[LATENTS] = encoded(base, subject_references(base, content), plain=False)[0][0]
            if masked:
                tensors[CONTENT_MASK] = subject_masks(base, content)
        return {name: tensor.to(base.device, base.dtype) for name, tensor in tensors.items()}

    def _transfer(self, base: Base, live: Live, call: AttentionCall, *, late: bool) -> Callable[[Tensor], Tensor]:
        """A function of a layer's output [B, H, N, d] that gives targets and contents what they read of the style."""
        import torch
        import torch.nn.functional as F

        parts = len(call.run.branches)
        each = len(call.query) // parts
        half = (each - 1) // 2
        targets, contents = slice(1, 1 + half), slice(1 + half, each)
        masks = self._masks(base, live, call) if self.masks != "none" else None
        sampled = CONTENT not in call.run.conditions and LATENTS not in live.tensors

        def grouped(x: Tensor) -> Tensor:
            return x.view(parts, each, *x.shape[1:])

        def read(rows: slice) -> Tensor:
            """[branches, rows, H, N, d]: the style as the queries of these rows read it."""
            query = grouped(call.query)[:, rows]
            key, value = (grouped(x)[:, :1].expand_as(query) for x in (call.key, call.value))
            bias = None if masks is None else apart(*masks).to(query)
            return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)

        def change(out: Tensor) -> Tensor:
            new = grouped(out).clone()
            own, of_content = new[:, contents].clone(), read(contents)
            of_target = of_content + self.strength * (read(targets) - of_content) if late else of_content
            if masks is not None and self.masks == "inside":
                inside = masks[0][:, None, :, None].to(out)  # [rows, 1, N, 1]
                of_target = torch.lerp(own, of_target, inside) if late else own
            elif not sampled:
                new[:, contents] = of_content
            new[:, targets] = of_target
            return new.view(out.shape)

        return change

    def _masks(self, base: Base, live: Live, call: AttentionCall) -> tuple[Tensor, Tensor]:
        """[n or 1, N] and [1, N]: 1 where the contents and where the style show the subject, else 0."""
        import torch.nn.functional as F

        side = round(call.query.shape[2] ** 0.5)
        content, style = self._content_masks(base, live, call.run), live.tensors[STYLE_MASK]
        small = (F.adaptive_avg_pool2d(mask.float(), side).flatten(1) > 0.5 for mask in (content, style))
        first, second = small
        return first, second

    def _content_masks(self, base: Base, live: Live, run: Pass) -> Tensor:
        """[n or 1, 1, H, W] of the content images."""
        pictures = run.conditions.get(CONTENT)
        if pictures is not None and base.segmenter is not None:
            half = (len(pictures) // len(run.branches) - 1) // 2
            segmenter = base.segmenter
            return run.sampling.once(
                "masks of contents", pictures, lambda: (segmenter(pictures[1 : 1 + half].float()) > 0.5)[:, None]
            )
        if pictures is None and CONTENT_MASK in live.tensors:
            return live.tensors[CONTENT_MASK]
        raise InputError(
            f"masks={self.masks!r} needs the mask of the content image, which is not known: learn {self.subject.handle} "
            "with a content image in `without` that has a mask, or set masks='none'"
        )


def apart(content: Tensor, style: Tensor) -> Tensor:
    """[n, 1, N, N]: attention logits, 0 from a side of the content's mask to the same side of the style's.

    They are minus infinity to the other side. A query whose side is empty in the style attends to all keys.

    content: [n, N] bool, over the queries
    style: [1, N] bool, over the keys
    """
    same = content[:, :, None] == style[:, None, :]
    allowed = same | ~same.any(-1, keepdim=True)
    return style.new_zeros(allowed.shape).float().masked_fill(~allowed, float("-inf"))[:, None]


def along_content(part: query_transfer) -> LatentOperation:
    """Content rows follow the DDIM inversion of the content image, and targets start where it starts.

    Without a content image nothing changes.

    part: the part that has the content image
    """

    def operation(moment: Moment) -> Tensor:
        import torch

        path = _path(part, moment)
        if path is None:
            return moment.latents
        targets, contents = moment.latents.chunk(2)
        if moment.step == 0:
            targets = path[:, 0].expand_as(targets)
        return torch.cat([targets, path[:, moment.step].expand_as(contents)])

    return operation


def _path(part: query_transfer, moment: Moment) -> Tensor | None:
    """[n or 1, steps, C, h, w]: the inverted content images, noisiest first; None without any."""
    import torch

    from limner.engine.sample import inverted

    base, cache = moment.adapted.base, moment.adapted.cache
    pictures = moment.conditions.get(CONTENT)
    own = moment.adapted.live[part].tensors.get(LATENTS)
    source = own if pictures is None else pictures[: len(pictures) // 2]
    if source is None:
        return None
    known = cache.get((PATH, part))
    if known is None or known[1].shape[1] != moment.total or not torch.equal(known[0], source):
        with torch.no_grad():
            latents = (
                source if pictures is None else base.encode(source.expand(-1, 3, -1, -1).float())[0].to(base.dtype)
            )
        prompt = f"a {part.subject.noun}"
        paths = [torch.stack(inverted(base, one[None], prompt, moment.total)) for one in latents]
        cache[PATH, part] = known = source, torch.stack(paths)
    path: Tensor = known[1]
    return path


def _first(subject: Subject) -> Subject:
    return replace(subject, pictures=subject.pictures[:1])
