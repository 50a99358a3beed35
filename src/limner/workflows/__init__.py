"""Workflows: each takes a request and yields events. The command line and other interfaces call nothing below them."""
