"""Rules on the manifests that the chart renders."""
