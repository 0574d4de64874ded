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
@click.argument("target", metavar="URI")
@click.option("--user", metavar="NAME", help="Sign in as this user; without it nobody signs in.")
@click.option("--password", metavar="TEXT", help="The user's password; others on this machine can see it so.")
@click.option("--password-file", type=_FILE, metavar="FILE", help="A file whose first line is the password.")
@click.option("--password-env", metavar="NAME", help="The environment variable that has the password.")
@click.option("--from", "caller", metavar="URI", help="Who calls and signs in; else the user, or the phone itself.")
@click.option(
    "--transport",
    type=click.Choice(["udp", "tcp", "tls"], case_sensitive=False),
    help="Go on over this; else over what the URI leads to.",
)
@click.option("--timeout", type=float, default=5.0, show_default=True, help="Seconds that one answer may take.")
@click.option("--listen", "local", metavar="ADDRESS", help="Speak from this IP address; else from that of the route.")
@click.option("--also", multiple=True, metavar="ADDRESS", help="Another IP address of the peer's, as for its audio.")
@click.option("--authorities", type=_FILE, metavar="FILE", help="Believe these certificates (PEM), not the system's.")
@click.option("--calls/--no-calls", default=True, help="Call the number that the URI names, or don't.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end in place of the lines.")
def doctor(
    target: str, password: str | None, password_file: Path | None, password_env: str | None, as_json: bool, **more: Any
) -> None:
    """Look at the phone, server or carrier at URI as a strict phone does, and say what is wrong with it.

    It asks over UDP, TCP and TLS, signs in where there is a --user, and calls the number that URI names, once, for
    about a quarter of a minute. The password of --user is asked for where no option gives it. Ends with status 0 when
    nothing is bad, with 1 when something is, with 2 when what was asked for can't be done.
    """
    from telephony.doctor.asked import read_asked, read_secret
    from telephony.errors import Error

    if sum(one is not None for one in (password, password_file, password_env)) > 1:
        raise click.UsageError("give one of --password, --password-file and --password-env")
    try:
        password = password if password is not None else read_secret(password_file, password_env)
        if more["user"] and password is None:
            read_asked(target, password="to come", **more)  # what is wrong is said before anybody has to type
            password = click.prompt(f"Password of {more['user']}", hide_input=True, err=True)
        asked = read_asked(target, password=password, **more)
    except Error as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    from telephony.doctor.command import main as run_doctor

    sys.exit(run_doctor(asked, as_json=as_json))


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
