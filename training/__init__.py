"""Data to bundle: corpus, motion targets, training, evaluation, export."""
