"""The command line, a file for every command: its flags and its call."""
