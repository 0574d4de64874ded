"""Tells twistd that there is a server called ``telephony``; strings only, so that looking costs nothing."""

from twisted.application.service import ServiceMaker

telephony = ServiceMaker("telephony", "telephony.server.service", "Telephone calls and their applications", "telephony")
