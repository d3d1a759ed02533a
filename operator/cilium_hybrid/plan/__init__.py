"""What next? Pure: from what was observed to the one next action, and to the status."""
