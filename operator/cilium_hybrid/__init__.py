"""The operator that manages Cilium on Amazon EKS hybrid nodes."""
