"""Tests of the LivePortrait renderer."""
