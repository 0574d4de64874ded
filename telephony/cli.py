"""The command ``telephony``: what a person types who is not running the server (that is ``twistd``'s).

Owns: the commands, their options and exit statuses. Must not do anything itself: each command imports what it runs
inside the command, so that ``telephony --help`` is quick and starts no reactor.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from telephony import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="telephony")
def main() -> None:
    """Programmable phone system.

    The server itself is run by twistd: twistd -n telephony --config telephony.toml
    """


@main.command()
@click.argument("file", type=click.Path(path_type=Path), default=Path("telephony.toml"))
@click.option("--public", is_flag=True, help="Check as for a server that is started with --public.")
def check(file: Path, public: bool) -> None:
    """Check a configuration FILE and its applications; nothing is started.

    Ends with status 0 when the file is fine, with 1 and every mistake on stderr when it is not.
    """
    from telephony.errors import Error
    from telephony.server.config import load_configuration

    try:
        configuration = load_configuration(file, public=public)
    except Error as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    count = len(configuration.services)
    click.echo(f"{file} is fine: {count} service{'' if count == 1 else 's'}")
    for one in configuration.services:
        match = "outbound" if one.match is None else f"match {one.match!r}"
        click.echo(f"  {one.name}: {match}, {one.application.path}, version {one.application.version}")
    if not configuration.services:
        click.echo("  no [[service]]: every call gets 404")
    for trunk in configuration.trunks:
        click.echo(f"  trunk {trunk.name}: {trunk.host}{', registers' if trunk.register else ''}")
    if configuration.phones:
        click.echo(f"  phones: {', '.join(phone.name for phone in configuration.phones)}")
    click.echo(f"  listens on {', '.join(configuration.sip.listen)}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout in place of the account.")
def demo(as_json: bool) -> None:
    """Call a server on this machine, transfer the call, take it back, and show what everybody heard.

    Needs no phone, no file and no network. Ends with status 0 only if all of that happened.
    """
    from telephony.demo import main as run_demo

    sys.exit(run_demo(as_json=as_json))


_FILE = click.Path(path_type=Path)


@main.command()
@click.argument("call_id", required=False, metavar="[CALL-ID]")
@click.option("--control", type=_FILE, metavar="SOCKET", help="The server's control socket; not needed beside it.")
@click.option("--config", type=_FILE, metavar="FILE", help="The server's configuration, to find its socket by.")
@click.option("--follow", is_flag=True, help="Show what is new as it comes, until the call is over.")
@click.option("--pcap", type=_FILE, metavar="FILE", help="Write the messages as a capture for Wireshark or tshark.")
@click.option("--html", type=_FILE, metavar="FILE", help="Write the ladder as a page, with each message in full.")
@click.option("--save", type=_FILE, metavar="FILE", help="Write the recording, for telephony replay.")
def trace(call_id: str | None, **options: Any) -> None:
    """Show what went into a call of a running server: the ladder, with states and audio beside the messages.

    Without CALL-ID it lists the calls that the server knows: those that run, and the last ones that are over. Only the
    user that runs the server may ask it. Ends with status 1 when there is nothing to show.
    """
    from telephony.watching import Wanted
    from telephony.watching import main as run_trace

    sys.exit(run_trace(Wanted(call=call_id, **options)))


@main.command()
@click.argument("file", type=_FILE)
@click.option("--app", type=_FILE, metavar="FILE", help="Run this application, in place of the recording's.")
@click.option(
    "--media", type=_FILE, metavar="DIR", help="Look for audio files here, in place of the recording's place."
)
@click.option("--debug", is_flag=True, help="Stop in pdb where the application's main begins.")
@click.option("--as-test", is_flag=True, help="Write a regression test of the call, to OUT.py or to stdout.")
@click.argument("out", type=_FILE, required=False, metavar="[OUT.py]")
def replay(file: Path, app: Path | None, media: Path | None, debug: bool, as_test: bool, out: Path | None) -> None:
    """Run a recorded call again, in simulated time, and show it beside what was recorded.

    FILE is a recording: of `telephony trace CALL-ID --save FILE`, or one that the server has written of a call that
    went wrong. Ends with status 0 when everything went the same way, with 1 when not, with 2 when nothing could be run.
    """
    from telephony.replay import main as run_replay

    if out is not None and not as_test:
        raise click.UsageError(f"{out} is where --as-test writes to; give --as-test, too.")
    sys.exit(run_replay(file, application=app, media=media, debug=debug, as_test=as_test, out=out))
