"""A kubelet with a container runtime: starts the processes of the pods of one machine, without images."""
