"""baresip as a phone: its configuration, its remote control (``ctrl_tcp``), its trace, and what it recorded.

baresip speaks from an ``aufile`` source and writes what it hears with the ``sndfile`` filter, both at 8 kHz.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import wave
from pathlib import Path
from typing import Any

import numpy as np
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.protocols.basic import NetstringReceiver

from telephony.codecs.g711 import Pcm
from telephony.media.detectors import heard
from telephony.testing.sounds import tone

from .case import BARESIP, Child, InteropCase, reactor
from .rtp import free_port
from .wire import Wire, read_baresip

CONFIG = """\
poll_method epoll
sip_listen 127.0.0.1:{port}
audio_source aufile,{directory}/says.wav
audio_level no
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_ports {rtp}-{rtp_last}
snd_path {directory}
ctrl_tcp_listen 127.0.0.1:{control}
module_path {modules}
module g711.so
module aufile.so
module sndfile.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
"""
ACCOUNT = "<sip:{user}@127.0.0.1>;regint=0;answermode=manual;audio_codecs={codec}/8000/1\n"
#: Where Debian has baresip's modules.
MODULES = (Path("/usr/lib/baresip/modules"), Path("/usr/local/lib/baresip/modules"))


class Control(NetstringReceiver):
    """The remote control: commands out, answers and events in, as JSON."""

    def __init__(self) -> None:
        self.events: list[str] = []
        """The types of events so far, those of keys with the key: ``CALL_DTMF_START 5``."""
        self.answers: list[dict[str, Any]] = []

    def stringReceived(self, string: bytes) -> None:
        """Take an event or an answer."""
        told = json.loads(string)
        if told.get("event"):
            key = f" {told.get('param', '')}".rstrip() if "DTMF" in told["type"] else ""
            self.events.append(told["type"] + key)
        else:
            self.answers.append(told)

    def command(self, command: str, params: str = "") -> None:
        """Have a command carried out."""
        self.sendString(json.dumps({"command": command, "params": params, "token": command}).encode())


class Baresip:
    """One baresip. Make it with `BaresipCase.baresip`."""

    def __init__(self, child: Child, control: Control, directory: Path, port: int) -> None:
        self.child = child
        self.control = control
        self.directory = directory
        self.port = port

    def wire(self, server_port: int) -> Wire:
        """Its messages so far."""
        return Wire(read_baresip(self.child.output, self.port, server_port))

    @property
    def recorded(self) -> Pcm:
        """What it has heard so far, also while it still writes."""
        files = sorted(self.directory.glob("dump-*-dec.wav"))
        assert len(files) <= 1, files
        # The header gets its sizes only when the file is closed; 44 bytes of it come before the samples.
        data = files[0].read_bytes()[44:] if files else b""
        return np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.int16)

    def hears(self, frequencies: float | tuple[int, ...], seconds: float = 0.5) -> bool:
        """Tell whether it has heard a tone for so long in one piece."""
        return any(one.seconds >= seconds for one in heard(self.recorded, frequencies, minimum=0.25))


class BaresipCase(InteropCase):
    """Calls from and to baresip."""

    async def baresip(
        self,
        user: str,
        frequency: int,
        codec: str = "pcma",
        *,
        config_too: str = "",
        account_too: str = "",
        registrar: str = "",
    ) -> Baresip:
        """Start a baresip that says a tone, and connect to its remote control.

        ``config_too`` is added to its configuration, ``account_too`` to its account. With ``registrar``, a URI without
        its scheme, it registers there with the password ``USER-secret``.
        """
        assert BARESIP is not None
        # Not below the test's own directory: baresip cuts the names of its recordings off at 128 characters.
        directory = Path(tempfile.mkdtemp(prefix="baresip-"))
        self.addCleanup(shutil.rmtree, directory)
        sound = tone(frequency, level=-9.0, seconds=60)
        with wave.open(str(directory / "says.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(sound.astype("<i2").tobytes())
        port, control_port, rtp = (free_port(self.interface) for _ in range(3))
        modules = next((one for one in MODULES if one.is_dir()), MODULES[0])
        config = CONFIG.format(
            port=port,
            control=control_port,
            # baresip takes an even port of this range; all but the first may be taken, it then tries the next.
            rtp=min(rtp - rtp % 2, 65000),
            rtp_last=min(rtp - rtp % 2, 65000) + 100,
            directory=directory,
            modules=modules,
        )
        (directory / "config").write_text(config + config_too)
        account = ACCOUNT.format(user=user, codec=codec).rstrip("\n") + account_too
        if registrar:
            account = account.replace("regint=0", "regint=60").replace(f"{user}@127.0.0.1", f"{user}@{registrar}", 1)
            account += f";auth_user={user};auth_pass={user}-secret"
        (directory / "accounts").write_text(account + "\n")
        child = self.spawn(f"baresip {user}", [BARESIP, "-4", "-s", "-n", "127.0.0.1", "-f", str(directory)])
        await self.until(lambda: "baresip is ready" in child.output or child.status is not None, "baresip is ready")
        self.assertIsNone(child.status, child.output)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", control_port)
        control = await connectProtocol(endpoint, Control())
        self.addCleanup(control.transport.loseConnection)
        return Baresip(child, control, directory, port)

    async def quit(self, *phones: Baresip) -> None:
        """Have phones quit, so that their recordings are whole."""
        for one in phones:
            one.control.command("quit")
        for one in phones:
            self.assertEqual(await one.child.ended(10), 0, one.child.output[-2000:])
