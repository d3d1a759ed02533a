"""Rules on specs, changes and rendered manifests: pure functions that yield violations."""
