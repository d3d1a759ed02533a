"""The upgrade path: which versions come next, and the gates before each."""
