"""Between clients and the pipeline: HTTP, control tasks, muxing. No torch."""
