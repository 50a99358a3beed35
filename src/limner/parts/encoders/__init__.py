"""Pictures -> features."""
