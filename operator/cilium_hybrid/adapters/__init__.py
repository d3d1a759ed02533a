"""How: the ports over Helm and over the Kubernetes API."""
