"""kopf handlers, which watch the resource and trigger reconciliations; they decide nothing."""
