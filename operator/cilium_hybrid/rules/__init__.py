"""May we? Pure judgements of specs, changes and manifests; each violation has a reason and a sentence."""
