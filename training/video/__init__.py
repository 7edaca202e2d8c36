"""Videos of people talking -> sharded training windows."""
