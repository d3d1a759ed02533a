"""Ask: commands that read and print."""
