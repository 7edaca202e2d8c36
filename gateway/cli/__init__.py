"""The command line `talkinghead`: a plain HTTP client and the supervisor of a local stack. Knows no torch."""
