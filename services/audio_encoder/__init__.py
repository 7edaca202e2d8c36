"""Sound to features: one feature row per video frame."""
