"""The pytest plugin: fixtures ``application``, ``phone`` and ``simulation``, and ``async def`` tests in simulated time.

Owns: the way from pytest's fixtures and hooks to a `CallTestCase`, which does the work. Must not know calls. The only
module that imports pytest; setuptools' entry point ``pytest11`` loads it, so whatever it needs is imported when used.

::

    async def test_greets(application, phone):
        greeting = application("greeting.py")
        alice = phone("alice")
        alice.dial(greeting.uri)
        assert (await greeting.ended()).return_code == 0
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from telephony.testing.case import CallTestCase
    from telephony.testing.fixtures import FixtureCase
    from telephony.testing.hosting import HostedApplication
    from telephony.testing.phone import Phone

_SIMULATION: pytest.StashKey[FixtureCase] = pytest.StashKey()
_MARK = "simulation(seed=1, strict=True, patience=5.0, network={}, exchange={}): what the calls of a test happen on"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--call-artifacts``."""
    group = parser.getgroup("telephony")
    group.addoption("--call-artifacts", metavar="DIR", help="write each failed test's calls there (pcapng and HTML)")


def pytest_configure(config: pytest.Config) -> None:
    """Announce the marker, and hand ``--call-artifacts`` on."""
    config.addinivalue_line("markers", _MARK)
    directory = config.getoption("--call-artifacts")
    if directory is not None:
        import os

        from telephony.testing.artifacts import VARIABLE

        os.environ[VARIABLE] = str(directory)


@pytest.fixture
def simulation(request: pytest.FixtureRequest) -> Generator[CallTestCase, None, None]:
    """Give the test a phone system on a simulated network: a `telephony.testing.case.CallTestCase`, without trial.

    Of use are ``network``, ``exchange``, ``uri``, ``serve``, ``advance``, ``run_until``, ``note`` and ``ladder``. The
    marker ``simulation`` says what it is made from.
    """
    from telephony.testing.fixtures import FixtureCase

    marker = request.node.get_closest_marker("simulation")
    made = FixtureCase(request.node.nodeid, [Path(request.node.path).parent], **(marker.kwargs if marker else {}))
    request.node.stash[_SIMULATION] = made
    yield made
    made.end()


@pytest.fixture
def application(simulation: CallTestCase) -> Callable[..., HostedApplication]:
    """Give ``application("file.py", parameters=…, extra_channels=…)``; see `CallTestCase.application`."""
    return simulation.application


@pytest.fixture
def phone(simulation: CallTestCase) -> Callable[..., Phone]:
    """Give ``phone("alice")``, which makes a phone; see `CallTestCase.phone`."""
    return simulation.phone


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that has a simulation, coroutine or not; judge what it left behind, show the ladder if it fails."""
    made = pyfuncitem.stash.get(_SIMULATION, None)
    if made is None:
        return None
    names = pyfuncitem._fixtureinfo.argnames
    try:
        made.perform(lambda: pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    except pytest.fail.Exception as failed:  # it is no Exception: the case has let it pass
        raise pytest.fail.Exception(made.explained(failed.msg or ""), pytrace=failed.pytrace) from None
    return True
