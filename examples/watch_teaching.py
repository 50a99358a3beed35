"""`train` is a generator: logging, previews and stopping early are ordinary code in your own loop."""

import limner
from limner.engine.attach import Adapter
from limner.pocket.subjects import toy

base, rex = limner.load("pocket"), toy("cat", seed=2_000_031)
recipe = limner.find("textual_inversion")(rex, steps=200, batch=2)
for progress in limner.train(base, Adapter(recipe, rex.handle), stages=recipe.tuning, seed=0):
    if progress.step % 10 == 0:
        print(progress.done, progress.losses)
    if progress.done == 30:
        break  # the base is as it was from here on
