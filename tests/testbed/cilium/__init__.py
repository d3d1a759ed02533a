"""A stand-in for the processes of Cilium: its operator and its agents."""
