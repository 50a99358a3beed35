"""The studio's pages: rendered by the server, made livelier by htmx, and usable without scripts."""
