"""Fuzzing, guided by coverage.

Atheris draws inputs for the parsers and for a live endpoint, and keeps those that reach code which nothing reached
before.

``python -m tests.fuzz TARGET --seconds N --seed N [--corpus FOLDER] [--found FOLDER]``; without a target, the targets
are listed. What is asked of each target stands in `tests.fuzz.targets`; what is found is a bug, and its input is
written to the folder for findings. ``tests.fuzz.test_fuzz`` runs every target for a few seconds.
"""
