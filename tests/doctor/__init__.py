"""Tests of ``telephony doctor``."""
