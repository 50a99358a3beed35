"""OMG (occlusion-friendly personalised multi-concept generation) — Kong et al., ECCV 2024.

The base paints a layout first, in which each subject's place is found; then the picture is painted again from the same
noise, with the noise that each subject's own concept predicts in its place and the first picture's attention elsewhere.
"""

from limner.core.method import method
from limner.core.recipe import FirstPass, Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.attention import faces_of_first, followed_attention, subject_regions, summed_maps
from limner.parts.modifiers import low_rank, rare_word_and
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import photos


def alone(prompt: str, handle: str) -> str:
    """The prompt of a subject's region: the subject alone."""
    return f"a photo of {handle}"


@method(
    title="OMG",
    arxiv="2403.10983",
    scope=("face", "multi", "object"),
    full_size={"rank": 4, "steps": 500, "lr": 1e-4, "batch": 1},
    same=("begin", "cross", "self_attention"),
    source="inference_lora.py and src/pipelines/lora_pipeline.py of kongzhecn/OMG; its concepts are found LoRAs, whose "
    "training is here that of train_dreambooth_lora.py of diffusers",
)
def omg(
    subject: Subject,
    *,
    begin: float = 0.32,
    cross: float = 1.0,
    self_attention: float = 0.4,
    rank: int = 16,
    steps: int = 120,
    lr: float = 4e-3,
    batch: int = 4,
) -> Recipe:
    """A rare token with low-rank changes, one subject at a time; a first pass of the base alone for prompts of several.

    The authors train nothing and take LoRAs of others, or InstantID for faces. Here a subject is learned as a LoRA, and
    concepts of every other method take part once one of this method is attached beside them: InstantID's then reads the
    keypoints of the faces in the first picture. A style (a concept of kind "style") acts in all regions, as the
    authors' style LoRA does; their strengths, 0.8 for subjects and 0.7 and 0.5 beside a style, are `paint`'s scale. The
    authors find each class by YOLO-World or Grounding DINO and SAM, here the base's segmenter and the attention to the
    class noun do; a subject that is not found so has the place of the largest attention, where the authors leave it
    out. Their prompt of each region is the user's, here it is "a photo of" the subject alone. Where the user gives
    regions, these act instead and there is no first pass; a sketch or pose acts in both passes, by a control branch.

    The steps before `begin` are equal in both passes, so that the second goes on from the first, with the first's
    attention in runs of the base. Pixels outside of the masks do not follow the base's trajectory exactly: in the
    authors' code and here they follow its predictions, which see the subjects through attention.

    Settings:
        begin: share of the steps after which the concepts act in their regions
        cross: share of the steps in which the first picture's cross-attention is followed
        self_attention: share of the steps in which its self-attention is followed
        rank: rank of every change
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    change = low_rank(rank, layers="everything")
    first = FirstPass(
        subject_regions(),
        begin,
        watch=summed_maps,
        follow=followed_attention(cross, self_attention),
        prompt=alone,
        conditions=faces_of_first,
    )
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        modifiers=(change,),
        stages=(Stage(train=(learned(change),), loss=(denoising(photos(subject, batch=batch)),), steps=steps, lr=lr),),
        painting=Painting(first_pass=first),
    )
