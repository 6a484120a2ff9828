"""The command line: one file for every verb. Nothing heavy is imported before a verb runs."""
