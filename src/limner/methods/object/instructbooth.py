"""InstructBooth — Chae et al., 2023.

DreamBooth, and then reinforcement learning: painted pictures are scored against their prompt without the subject's
name, and pictures that follow the prompt better are made likelier.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import low_rank, rare_word_and
from limner.parts.objectives import policy_gradient, preserving, reward
from limner.parts.parameters import everything, learned
from limner.parts.sources import prior_note, prompts

PLACES = ("on the beach", "in the snow", "in the jungle", "in the city", "wearing a red hat", "with a blue ball")


@method(
    title="InstructBooth",
    arxiv="2312.03011",
    scope=("object",),
    full_size={
        "reward_steps": 200,
        "reward_lr": 1e-4,
        "prior_weight": 1.0,
        "steps": 1000,
        "lr": 5e-6,
        "num_class_pictures": 200,
        "batch": 1,
    },
    same=("judge", "rank", "kl_weight", "reward_batch"),
    source="DreamBooth's (Sec. 4 of arXiv:2208.12242) for the first stage; the second's are not published: the rate is "
    "that of config/base.py in kvablack/ddpo-pytorch, the number of updates is ours",
)
def instructbooth(
    subject: Subject,
    *,
    judge: str = "clip",
    rank: int = 4,
    kl_weight: float = 0.01,
    reward_steps: int = 24,
    reward_lr: float = 3e-3,
    reward_batch: int = 8,
    prior_weight: float = 0.1,
    steps: int = 80,
    lr: float = 7e-4,
    num_class_pictures: int = 64,
    batch: int = 4,
) -> Recipe:
    """The denoiser with prior preservation, then low-rank changes by policy gradient on prompts alone.

    The second stage sees no picture of the subject; half of its prompts name it and half only its class. The authors
    judge by ImageReward and published no code; here CLIP judges, or any function of yours. For a rare subject they ask
    with a description in the name's place, here always with the class noun. The low-rank change takes a rate like that
    of low-rank tuning, since there are few updates: at a tenth of it, the stage moves nothing.

    Settings:
        judge: "clip", or a function (base, pictures, prompts) -> numbers as FILE.py:function
        rank: rank of the changes of the second stage
        kl_weight: weight of staying near what the first stage made
        reward_steps: updates of the second stage
        reward_lr: its learning rate
        reward_batch: pictures that are painted for one prompt in an update of the second stage, and compared, 3 or more
        prior_weight: weight of the loss on class images in the first stage; 0 leaves it out
        steps: updates of the first stage
        lr: its learning rate
        num_class_pictures: class images that the untouched base paints first
        batch: pictures of the subject in an update of the first stage, and as many class images
    """
    change = low_rank(rank)
    asked = tuple(f"{name} {place}" for place in PLACES for name in (subject.handle, f"a {subject.noun}"))
    worth = policy_gradient(
        prompts(asked, batch=reward_batch),
        reward=reward(judge),
        noun=(subject.handle, f"a {subject.noun}"),
        change=change,
        kl=kl_weight,
    )
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        modifiers=(change,),
        stages=(
            Stage(
                train=(everything(),),
                loss=preserving(subject, weight=prior_weight, count=num_class_pictures, batch=batch),
                steps=steps,
                lr=lr,
                weight_decay=1e-2,
            ),
            Stage(train=(learned(change),), loss=(worth,), steps=reward_steps, lr=reward_lr),
        ),
        notes=prior_note(prior_weight, num_class_pictures),
    )
