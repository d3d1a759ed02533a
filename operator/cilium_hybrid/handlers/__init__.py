"""When: kopf watches the resource and wakes the pass; nothing is decided here."""
