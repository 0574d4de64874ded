"""The tests of telephony; the folders mirror the package."""
