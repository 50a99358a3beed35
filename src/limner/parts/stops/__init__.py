"""When a stage has learned enough."""
