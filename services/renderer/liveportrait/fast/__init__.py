"""W and G rearranged: the same function of the same weights with less arithmetic and less traffic."""
