"""lambda-ECLIPSE — Patel et al., TMLR 2024.

A network, trained once without diffusion, reads the prompt with the subjects' pictures in the places of their nouns and
predicts, in one pass, the image embedding of the picture to paint; a decoder paints it. Nothing is learned per subject.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.fusion import embedding_regression, predicted_embedding
from limner.parts.objectives import denoising
from limner.parts.parameters import beginning
from limner.parts.sources import pairs


@method(
    title="lambda-ECLIPSE",
    arxiv="2402.05195",
    scope=("multi", "object"),
    full_size={"layers": 10, "width": 512, "lr": 5e-05, "batch": 256, "steps": 100000, "decoder_steps": 100000},
    same=("scale", "tokens", "contrast"),
    source="arXiv:2402.05195 gives 34M parameters, which this shape has about, and the weight of the contrast; all "
    "else is ours",
)
def lambda_eclipse(
    subject: Subject,
    *,
    scale: float = 1.0,
    tokens: int = 4,
    layers: int = 4,
    width: int = 128,
    contrast: float = 0.2,
    decoder_steps: int = 600,
    steps: int = 800,
    lr: float = 1e-3,
    batch: int = 32,
) -> Recipe:
    """One predicted image embedding for the whole prompt, read by keys and values of its own.

    In prompts the handle becomes the class noun. The authors' decoder, that of Kandinsky 2.2, reads the embedding
    alone. Here a base that reads text first learns to paint from image embeddings as well; its added layers then stay
    frozen, and it still reads the prompt. The optional edge embedding as a further condition is left out. The authors'
    pairs are captions with crops of their nouns, which are left out at random; here they are a caption of one picture
    and other pictures of its subject, and one in twenty rows has the caption alone. Interpolation between two
    predicted embeddings is left out.

    Settings:
        scale: strength of the image branch; 0 is the base
        tokens: number of tokens that the embedding becomes
        layers: layers of the network
        width: width of the network, a multiple of 4
        contrast: weight of the contrastive loss between the predicted embedding and its caption's text embedding
        decoder_steps: updates of the one-time training of the image branch
        steps: updates of the one-time training of the network
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    part = predicted_embedding(subject, tokens, layers, width, heads=max(4, width // 64), scale=scale)
    own, shown = pairs(batch=batch, target="same", drop_text=0.5), pairs(batch=batch, references=2, drop_text=0.0)
    decoder = Stage((beginning(part, "image."),), (denoising(own),), decoder_steps, lr, 0.01, warmup=20, decay="cosine")
    regression = embedding_regression(shown, part, contrast=contrast)
    prior = Stage((beginning(part, "predictor."),), (regression,), steps, lr, 0.01, warmup=20, decay="cosine")
    return Recipe(says=subject.noun, modifiers=(part,), stages=(decoder, prior), weights="lambda_eclipse")
