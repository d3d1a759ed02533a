"""Real nodes: the agent, the operator and the CNI plugin of Cilium run in network namespaces of this machine."""
