"""Boards to run on: for now those that are emulated."""
