"""Tests of Ditto's motion network."""
