"""Opening a concept: its recipe, the weights it starts from, its settings, and the cache of concepts."""
