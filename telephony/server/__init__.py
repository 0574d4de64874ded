"""The server: configuration, application files, their instances and records, and the twistd service.

Start reading at `telephony.server.switchboard` (who gets a call) and `telephony.server.service` (how twistd runs it).
"""
