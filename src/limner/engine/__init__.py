"""The engine: attaches recipes to a base, trains and samples. It knows no method and no command."""
