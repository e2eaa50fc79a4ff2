"""The command line: one door to every room."""
