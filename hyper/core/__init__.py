"""Decisions of the agent, as functions of values: no clock, no I/O, no engine."""
