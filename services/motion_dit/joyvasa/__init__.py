"""JoyVASA's published motion generator (arXiv:2411.09209): its networks, samplers and files, exactly."""
