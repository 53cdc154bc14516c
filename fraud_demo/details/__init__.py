"""What lessons use and a first reading skips."""
