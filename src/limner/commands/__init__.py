"""What each command of `limner` does; the parser is in `cli.py`."""
