"""Measuring: ours beside the peers (compare.py), and each kernel beside the machine's limits (profile.py)."""
