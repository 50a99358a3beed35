"""Hostile input by the thousand: whatever is in a file or typed in a field, a clear error, or what was meant."""
