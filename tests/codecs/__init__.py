"""Tests of telephony.codecs."""
