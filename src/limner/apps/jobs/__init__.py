"""The studio's memory and queue: a database, content-addressed files, jobs, and the workers that run them."""
