"""A responder on Sippy: 180 and 200 at once, 200 to a BYE. Run by `bench.peers.sippy`: PORT."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ADDRESS = "127.0.0.1"


def main() -> None:
    """Answer calls until killed."""
    # This file's own folder would hide the package of the same name.
    sys.path[:] = [one for one in sys.path if Path(one or ".").resolve() != Path(__file__).resolve().parent]
    from sippy.CCEvents import CCEventConnect, CCEventRing, CCEventTry
    from sippy.Core.EventDispatcher import ED2
    from sippy.MsgBody import MsgBody
    from sippy.SipConf import SipConf
    from sippy.SipLogger import SipLogger
    from sippy.SipTransactionManager import SipTransactionManager
    from sippy.UA import UA

    sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 8\r\n"
    SipConf.my_address = ADDRESS
    SipConf.my_port = int(sys.argv[1])
    settings: dict[str, Any] = {"_sip_address": ADDRESS, "_sip_port": int(sys.argv[1])}
    settings["_sip_logger"] = SipLogger("bench")

    def happened(event: Any, ua: Any) -> None:
        if isinstance(event, CCEventTry):
            ua.recvEvent(CCEventRing((180, "Ringing", None)))
            ua.recvEvent(CCEventConnect((200, "OK", MsgBody(sdp))))

    def received(request: Any, transaction: Any) -> Any:
        if request.getHFBody("to").getTag() is not None:
            return (request.genResponse(481, "Call Leg/Transaction Does Not Exist"), None, None)
        if request.getMethod() == "INVITE":
            return UA(settings, happened).recvRequest(request, transaction)
        return (request.genResponse(501, "Not Implemented"), None, None)

    settings["_sip_tm"] = SipTransactionManager(settings, received)
    ED2.loop()


if __name__ == "__main__":
    main()
