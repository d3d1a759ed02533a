"""A stand-in for the processes of Cilium: its operator, its agents, and the validator of its preflight."""
