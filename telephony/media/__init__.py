"""Audio: the shared clock and what hangs on it, tones, levels, detectors and files.

Owns: linear audio at 8 kHz and its way to and from one call leg. Must not know SIP or who is talking to whom.
"""
