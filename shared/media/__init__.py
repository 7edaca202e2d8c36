"""Sound, portraits and video files in and out (PyAV, Pillow); knows nothing of jobs, Redis or HTTP."""
