"""Measurements: each prints its table, and a line `RATIO name value bar` for each bar, larger being better."""
