"""Tests of traces and ladders."""
