"""Measures of motion, lip sync and videos: ``python -m training.evaluate``; see docs/evaluation.md."""
