"""Tests of telephony.server."""
