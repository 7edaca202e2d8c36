"""Parity of our networks with the official ones, under synthetic weights that a seed determines."""
