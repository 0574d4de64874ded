"""Tests of the test kit: a kit that lies is worse than none."""
