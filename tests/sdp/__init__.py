"""Tests of telephony.sdp."""
