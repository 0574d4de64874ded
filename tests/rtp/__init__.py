"""Tests of telephony.rtp."""
