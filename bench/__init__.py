"""The bench: what a call costs and how many there can be, beside the peers that can be installed.

``python -m bench`` from a checkout runs every row of ``docs/speed.rst``; ``python -m bench --list`` names them. No part
of the product, and nothing of the product imports it.
"""
