"""How a recipe runs: attach it to a base, train, sample. Knows no method and no command."""
