"""Rules on rendered manifests."""
