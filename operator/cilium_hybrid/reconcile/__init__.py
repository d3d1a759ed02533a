"""The reconcile loop and its steps, over the ports."""
