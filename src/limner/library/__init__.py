"""Open a concept: its recipe, its pre-trained weights, its settings, and the cache of concepts."""
