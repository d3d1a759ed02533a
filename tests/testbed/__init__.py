"""A real Kubernetes control plane with simulated kubelets, a stand-in for Cilium and a chart registry."""
