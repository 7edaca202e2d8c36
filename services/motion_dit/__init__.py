"""Features to motion: a diffusion transformer, one window at a time."""
