"""Slow re-implementations, from the equations, of what the tests check."""
