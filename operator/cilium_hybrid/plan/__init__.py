"""Planning: from a reconciliation's input to its one action and the new status, without input or output."""
