"""The commands that read, print and approve."""
