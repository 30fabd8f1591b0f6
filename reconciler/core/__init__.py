"""Decisions of the control plane: pure functions of a snapshot. No clock, no randomness, no I/O."""
