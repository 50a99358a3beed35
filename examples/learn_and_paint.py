"""Learn a toy from four pictures on the pocket base, and paint it in the snow."""

import limner
from limner.pocket.subjects import toy

base = limner.load("pocket")
rex = toy("dog", seed=2_000_012, name="rex")  # or limner.Subject.of("photos/", noun="dog", handle="rex")
concept = limner.learn(base, rex, steps=20, num_class_pictures=8)
concept.save("out/rex.safetensors", overwrite=True)
pictures = limner.paint(base, "<rex> in the snow", concepts=[concept], count=4)
pictures.grid().save("out/rex.png")
