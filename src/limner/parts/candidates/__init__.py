"""Which of several painted pictures is kept."""
