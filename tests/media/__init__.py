"""Tests of telephony.media."""
