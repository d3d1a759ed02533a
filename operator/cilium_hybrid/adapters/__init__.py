"""Adapters: the ports implemented over Helm and the Kubernetes API."""
