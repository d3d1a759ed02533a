"""The Kubernetes API: raw JSON over one shared client, and watches that keep only the facts that are needed."""
