"""Tests of the motion service."""
