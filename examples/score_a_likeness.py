"""Score a concept: fidelity to the toy, alignment with the prompt, and a suggestion."""

import limner
from limner.pocket.subjects import toy

base = limner.load("pocket")
rex, others = toy("dog", seed=2_000_012, name="rex"), toy("dog", seed=2_000_012, name="rex", at=1)
concept = limner.learn(base, rex, steps=10, num_class_pictures=8)
training, held_out = ([p.image for p in who.pictures] for who in (rex, others))
prompts = ["<rex> on the beach", "<rex> in the snow"]
card = limner.score(base, concept, training=training, held_out=held_out, prompts=prompts, seeds=(0,))
print(card.diagnosis)
print(card.measured["identity"].value, card.measured["pickscore"].gap)
