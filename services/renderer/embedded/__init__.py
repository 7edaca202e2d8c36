"""A weight-free renderer: a portrait photo is warped by precomputed fields, in two layers split along the lips."""
