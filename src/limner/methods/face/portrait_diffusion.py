"""Portrait Diffusion — Liu et al., 2023.

Nothing is trained: a style image and a content image are inverted, and a portrait is sampled beside them whose
self-attention reads the style alone, first with the content's queries, then with its own."""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe
from limner.core.subject import Subject
from limner.parts.guidance import between
from limner.parts.modifiers import along_content, inverted_reference, query_transfer, reference_latents


@method(
    title="Portrait Diffusion",
    arxiv="2312.02212",
    scope=("face", "style"),
    reads=("content",),
    full_size={"text_guidance": 1.0},
    same=("style_guidance", "begin", "switch", "layers_from", "masks"),
    source="README, main.py and style_attn_control.py of liujin112/PortraitDiffusion; nothing is trained",
)
def portrait_diffusion(
    subject: Subject,
    *,
    style_guidance: float = 1.2,
    begin: float = 0.08,
    switch: float = 0.7,
    layers_from: float = 0.625,
    masks: str = "none",
    text_guidance: float = 3.0,
) -> Recipe:
    """Style image, content image and portrait are sampled together; style attention control; masks.

    The subject is the style: the first of its pictures. The content, a face, is the condition "content" of `paint`, or
    the first of the pictures `without` the style with which the subject is learned; without both, it is the picture
    that the base paints from the prompt and seed. In prompts the handle becomes the class noun. The authors have no
    guidance by text; a content from the prompt needs some, so a small base has 3. Their layers are 10 to 15 of 16,
    their steps 4 to 34 and 35 to 49 of 50; both are shares here. In their code, the content's row takes on the
    portrait's output where masks are "apart"; here it reads the style with its own queries, as without masks. Their
    chain of painting, several passes over regions, is not here as one command: paint again with the result as the
    content.

    Settings:
        style_guidance: strength of the portrait's own queries beyond the content's; 0 has the content's throughout
        begin: share of sampling, from its start, in which the style does not act
        switch: share of sampling, from its start, up to which the queries are the content's
        layers_from: share of the self-attention layers, in the order in which they run, that stay as they are
        masks: none; apart: face and background each read their own kind in the style; inside: only the face changes
        text_guidance: guidance scale of the prompt; 1 is none
    """
    style = reference_latents(subject)
    transfer = query_transfer(subject, style_guidance, begin, switch, layers_from, masks)
    return Recipe(
        says=subject.noun,
        modifiers=(style, transfer),
        painting=Painting(
            guidance=(between("negative", scale=text_guidance),),
            parallel_stream=lambda prompt: prompt,
            reference_stream=inverted_reference(style, f"a {subject.noun}"),
            latents=(along_content(transfer),),
        ),
        notes=("only the first picture is used, as the style",) if len(subject.pictures) > 1 else (),
    )
