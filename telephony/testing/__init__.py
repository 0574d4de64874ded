"""Calls in simulated time: a seeded clock and network, phones to call with, and a TestCase that puts them together.

Owns: everything a test of a call needs and no phone system should: a world in memory and strict peers in it. It is a
product of its own, for people who write call applications as much as for this project's tests. Must not be imported
by the product, except inside the commands ``demo``, ``replay`` and ``doctor``.
"""
