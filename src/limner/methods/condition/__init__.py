"""Methods with further conditions: layout, pose, depth."""
