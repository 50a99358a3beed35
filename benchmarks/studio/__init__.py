"""The studio under load, under attack and against the clock; each command writes results/studio_NAME.json."""
