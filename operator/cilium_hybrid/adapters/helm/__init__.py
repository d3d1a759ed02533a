"""Helm: charts, release `cilium` and release `cilium-preflight`, through pyhelm3."""
