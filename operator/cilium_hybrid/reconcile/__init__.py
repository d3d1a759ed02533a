"""Do it: one pass from looking to writing, over the ports."""
