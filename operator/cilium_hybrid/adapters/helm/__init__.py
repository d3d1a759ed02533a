"""Helm: charts, and release `cilium`, through pyhelm3."""
