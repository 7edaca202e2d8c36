"""Ditto's published motion network behind our own code (arXiv:2411.19509). No bundle uses it yet.

The network and its sampler are here: features and conditions at 25 fps in, 265 numbers per frame out. What a bundle
would need besides is not: its audio encoder, the making of the conditions, the online state machine that joins clips.
"""
