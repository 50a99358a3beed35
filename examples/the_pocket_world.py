"""Draw the pocket world: scene graphs, captions, pictures, and the truth about every pixel."""

from limner.core.picture import grid
from limner.core.pixels import to_images
from limner.pocket.world import WHOLE, caption, draw, sample

graphs = [sample(seed, world=WHOLE) for seed in range(12)]
drawn = draw(graphs, size=128)
print(*[caption(graph, seed=0) for graph in graphs], sep="\n")
print("pixels of toys:", drawn.masks.float().mean().item())
grid(to_images(drawn.pixels.float() / 255), 4).save("out/world.png")
