"""The operator that owns Cilium's life on Amazon EKS hybrid nodes."""
