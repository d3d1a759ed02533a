"""A stand-in for the Cilium operator, the agents and the policy validator of the preflight check."""
