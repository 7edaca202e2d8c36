"""The LivePortrait renderer (arXiv:2407.03168): official networks, official arithmetic, our code."""
