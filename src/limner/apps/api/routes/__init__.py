"""The routes under /api, a module for each noun."""
