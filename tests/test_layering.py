"""The layers of ``docs/architecture.rst``, checked by walking every import of the package."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import telephony

ROOT = Path(telephony.__path__[0]).parent

#: The layer of each module, by the longest prefix that fits. What isn't here fails the test, so that it gets a place.
LAYERS = {
    "telephony": 5,
    "telephony.errors": 0,
    "telephony.interfaces": 0,
    "telephony.addresses": 1,
    "telephony.tables": 0,
    "telephony.timing": 2,
    "telephony.sip": 2,
    "telephony.sip.auth": 1,
    "telephony.sip.grammar": 1,
    "telephony.sip.uri": 1,
    "telephony.sip.headers": 1,
    "telephony.sip.info": 1,
    "telephony.sip.particulars": 1,
    "telephony.sip.redirects": 1,
    "telephony.sip.refer_words": 1,
    "telephony.sip.replaces": 1,
    "telephony.sip.message": 1,
    "telephony.sip.nat": 1,
    "telephony.sip.parser": 1,
    "telephony.sip.stun": 1,
    "telephony.sip.timers": 1,
    "telephony.sip.targets": 1,
    "telephony.sip.transport": 3,
    "telephony.sip.keepalive": 3,
    "telephony.sip.glance": 1,
    "telephony.sip.entrance": 3,
    "telephony.sip.listeners": 3,
    "telephony.sip.resolve": 3,
    "telephony.sip.ways": 3,
    "telephony.sip.stateless": 3,
    "telephony.sip.user_agent": 3,
    "telephony.sdp": 1,
    "telephony.codecs": 1,
    "telephony.trace": 1,
    "telephony.rtp": 1,
    "telephony.rtp.session": 2,
    "telephony.rtp.sending": 2,
    "telephony.rtp.receiving": 2,
    "telephony.rtp.ports": 3,
    "telephony.media": 2,
    "telephony.media.tones": 1,
    "telephony.media.detectors": 1,
    "telephony.media.levels": 1,
    "telephony.media.files": 1,
    "telephony.host": 3,
    "telephony.media_port": 3,
    "telephony.names": 3,
    "telephony.randomness": 3,
    "telephony.call": 4,
}

#: The edges: they may import whatever is below; who may import them is said here.
EDGES = {
    "telephony.blocking": 5,
    "telephony.runner": 5,
    "telephony.collecting": 5,
    "telephony.facade": 5,
    "telephony.reception": 5,
    "telephony.aio": 5,
    "telephony.server": 6,
    "telephony.demo": 7,
    "telephony.doctor": 7,
    "telephony.replay": 7,
    "telephony.watching": 7,
    "telephony.cli": 7,
    "telephony.__main__": 8,
    "telephony.testing": 6,
}

#: Packages that must not know each other, in both directions; SDP is their common language.
STRANGERS = [("telephony.sip", other) for other in ("telephony.rtp", "telephony.media", "telephony.codecs")]

#: Of the product, only these commands use the test kit, and only inside the command.
USERS_OF_TESTING = ("telephony.demo", "telephony.doctor", "telephony.replay")


def modules() -> dict[str, Path]:
    """Find every module of the package."""
    found = {}
    for path in sorted((ROOT / "telephony").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def within(name: str, package: str) -> bool:
    """Tell whether a module is a package or in it."""
    return name == package or name.startswith(package + ".")


def layer(name: str) -> int:
    """Return the layer of a module, by the longest prefix."""
    fits = [known for known in {**LAYERS, **EDGES} if within(name, known)]
    best = max(fits, key=len)
    if best == "telephony" and name != "telephony":
        raise AssertionError(f"{name} has no layer yet: give it one in {__name__}")
    return {**LAYERS, **EDGES}[best]


def imports(path: Path) -> list[tuple[str, bool, int]]:
    """List what a module imports: the name, whether at import time, and the line; what is only for types is not."""
    found: list[tuple[str, bool, int]] = []

    def visit(node: ast.AST, at_import: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, at_import, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.append(
                    (
                        full if full in KNOWN or node.module == "twisted.internet" else node.module,
                        at_import,
                        node.lineno,
                    )
                )
        inside = at_import and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(path.read_text()), True)
    return found


KNOWN = modules()


class LayeringTests(SynchronousTestCase):
    """``docs/architecture.rst``, "Layers": a module imports only what lies below it, or beside it in its package."""

    def test_downwards_only(self) -> None:
        """A module imports from lower layers, from its own sub-package, or as the table of layers allows."""
        for name, path in KNOWN.items():
            for target, _at_import, line in imports(path):
                if target not in KNOWN or target == "telephony":
                    continue
                own, other = layer(name), layer(target)
                beside = own == other
                inside = name.split(".")[:2] == target.split(".")[:2] and other <= own
                join = name == "telephony.media.join" and target == "telephony.rtp.session"
                kit = within(name, "telephony.testing")
                if kit or within(target, "telephony.testing"):
                    continue
                self.assertTrue(other < own or inside or beside or join, f"{path}:{line}: {name} imports {target}")

    def test_strangers(self) -> None:
        """The package sip never imports rtp, media or codecs, and they never import sip."""
        for name, path in KNOWN.items():
            for target, _at_import, line in imports(path):
                for one, other in STRANGERS:
                    for a, b in ((one, other), (other, one)):
                        self.assertFalse(
                            within(name, a) and within(target, b), f"{path}:{line}: {name} imports {target}"
                        )

    def test_no_circles(self) -> None:
        """Modules that import each other while being imported would depend on who comes first."""
        graph = {
            name: {target for target, at_import, _line in imports(path) if at_import and target in KNOWN} - {name}
            for name, path in KNOWN.items()
        }
        done: set[str] = set()

        def walk(name: str, path: tuple[str, ...]) -> None:
            self.assertNotIn(name, path, " imports ".join((*path, name)))
            if name not in done:
                for target in sorted(graph[name]):
                    walk(target, (*path, name))
                done.add(name)

        for name in sorted(graph):
            walk(name, ())

    def test_no_reactor_at_import_time(self) -> None:
        """No module imports the reactor while it is being imported (``api.md`` section 1)."""
        for path in KNOWN.values():
            for target, at_import, line in imports(path):
                self.assertFalse(at_import and target.startswith("twisted.internet.reactor"), f"{path}:{line}")

    def test_testing_stays_outside(self) -> None:
        """Of the product only these commands use the test kit."""
        for name, path in KNOWN.items():
            if within(name, "telephony.testing"):
                continue
            for target, _at_import, line in imports(path):
                used = within(target, "telephony.testing")
                allowed = any(within(name, user) for user in USERS_OF_TESTING)
                self.assertFalse(used and not allowed, f"{path}:{line}: {name} imports {target}")

    def test_import_leaves_no_reactor(self) -> None:
        """``import telephony`` and every public name in it install no reactor (``api.md`` section 1)."""
        code = (
            "import sys, telephony\n"
            "for name in telephony.__all__: getattr(telephony, name)\n"
            "print('twisted.internet.reactor' in sys.modules)"
        )
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=dict(os.environ)
        )
        self.assertEqual(out.stdout.strip(), "False")
