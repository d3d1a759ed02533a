"""The words: the resource, its status, its conditions, Cilium's versions. Shape only, no decision."""
