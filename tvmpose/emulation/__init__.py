"""Counting on an emulated CPU: the instructions of a frame, ours and the peers', the same on every run."""
