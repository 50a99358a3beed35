"""The embedded default: a world that is rendered, and a base and judges trained on it."""

SIZE = 128
"""Pixels of a side: what the pocket base paints and its judges read. The world can be drawn at any size."""
