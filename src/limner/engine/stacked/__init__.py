"""Training several subjects at once on one base: each row of a batch belongs to one subject."""
