"""The studio's HTTP server: OpenAI's images API, and an API of its own under /api."""
