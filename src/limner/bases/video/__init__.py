"""Motion modules and bases that generate clips."""
