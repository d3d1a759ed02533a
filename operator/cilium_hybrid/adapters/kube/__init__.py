"""The Kubernetes API: raw JSON over one shared client, watches that keep only what is needed."""
