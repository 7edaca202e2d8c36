"""What processes agree on: bytes, names, time, motion layout, errors, settings, telemetry, the worker loop."""
