"""Tests of the bench: what is pure of it, its command line, and one very small run."""
