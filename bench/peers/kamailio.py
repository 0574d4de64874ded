"""Kamailio as a mere proxy between a caller and a target (Debian: kamailio): transactions, Record-Route, no audio."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.peers import Running
from bench.processes import LOOPBACK, Process, Workshop, find, free_port

_CONFIGURATION = """\
debug=0
log_stderror=yes
fork=yes
children=2
disable_tcp=yes
auto_aliases=no
dns=no
rev_dns=no
listen=udp:{address}:{port}
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/:/usr/lib/aarch64-linux-gnu/kamailio/modules/:/usr/lib64/kamailio/modules/"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"

request_route {{
    if (!mf_process_maxfwd_header("20")) {{
        sl_send_reply("483", "Too Many Hops");
        exit;
    }}
    if (has_totag()) {{
        if (loose_route()) {{
            t_relay();
            exit;
        }}
        if (is_method("ACK") && t_check_trans()) t_relay();
        exit;
    }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) t_relay();
        exit;
    }}
    record_route();
    $ru = "sip:t@{address}:{target}";
    t_relay();
}}
"""


def absent() -> str:
    """Tell whether it is installed."""
    return "" if find("kamailio") else "kamailio is not installed (Debian: kamailio)"


@contextmanager
def proxy(workshop: Workshop, core: int, target_port: int) -> Iterator[Running]:
    """Run it, in the foreground, all its processes on the one core."""
    port = free_port()
    directory = workshop.fresh("kamailio")
    file = directory / "kamailio.cfg"
    file.write_text(_CONFIGURATION.format(address=LOOPBACK, port=port, target=target_port))
    program = find("kamailio")
    assert program is not None
    # MiB for what its processes share and for each; it keeps transactions for five seconds after their end.
    command = [
        program,
        "-DD",
        "-E",
        "-f",
        str(file),
        "-P",
        f"{directory}/pid",
        "-m",
        "1024",
        "-M",
        "16",
        "-Y",
        str(directory),
    ]
    process = Process(command, core, log=directory / "kamailio.log")
    try:
        time.sleep(1.0)
        process.check()
        yield Running(process, port)
    finally:
        process.end()
