"""What the status reports, built from one evaluation."""
