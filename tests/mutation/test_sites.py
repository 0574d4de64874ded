"""The mutation run's own parts: what is a site, what a change makes of it, and that the lists fit the tree."""

from __future__ import annotations

import ast
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import telephony
from tests.mutation.__main__ import EQUIVALENT, PACKAGES, drawn, known_equivalents
from tests.mutation.races import ROWS, RULES
from tests.mutation.rules import Edit, MissingError
from tests.mutation.sites import Site, _Search, mutated, sites_of

ROOT = Path(telephony.__path__[0]).parent


def changes(source: str) -> list[str]:
    """List the changes that a source offers."""
    return [one.text for one in _Search(ast.parse(source)).found]


def changed(source: str, change: str) -> str:
    """Return a source with the first change of that text made."""
    tree = ast.parse(source)
    next(one for one in _Search(tree).found if one.text == change).make()
    return ast.unparse(ast.fix_missing_locations(tree))


class SiteTests(SynchronousTestCase):
    """``tests.mutation``: sites."""

    def test_bounds_and_conditions(self) -> None:
        """A comparison has its bound moved and is turned round; each side of an ``and`` is left out."""
        source = "if a < 3 and b:\n    c()"
        self.assertEqual(
            changes(source),
            [
                *("condition turned round", "and -> or", "without a < 3", "without b"),
                *("< -> <=", "< -> >=", "3 -> 4", "3 -> 2"),
            ],
        )
        self.assertEqual(changed(source, "< -> <="), "if a <= 3 and b:\n    c()")
        self.assertEqual(changed(source, "without a < 3"), "if b:\n    c()")
        self.assertEqual(changed(source, "condition turned round"), "if not (a < 3 and b):\n    c()")

    def test_machines(self) -> None:
        """A transition leads elsewhere, loses an output, or is gone."""
        source = "t = {S.A: {I.X: (S.B, (go, X.stop, X.tell))}}"
        source = source.replace("go", "X.go")
        self.assertEqual(changed(source, "A -> B"), source.replace("S.A", "S.B"))
        self.assertEqual(changed(source, "element X.stop left out"), source.replace("X.stop, ", ""))
        self.assertEqual(changed(source, "entry I.X left out"), "t = {S.A: {}}")

    def test_statements(self) -> None:
        """In a function a statement, a result or an argument is left out; an ``except`` raises again."""
        source = "def f():\n    try:\n        g(x, y=1)\n    except E:\n        return h(2)"
        self.assertIn("pass", changed(source, "statement left out"))
        self.assertIn("g(x)", changed(source, "argument y left out"))
        self.assertIn("return None", changed(source, "returns None"))
        self.assertIn("except E:\n        raise", changed(source, "raises again"))

    def test_no_sites(self) -> None:
        """What nobody should hold fast is left alone."""
        for source in (
            '"""A text."""',
            "def f(a: int | None) -> list[int]: ...",
            "if TYPE_CHECKING:\n    import a",
            "__slots__ = ('a', 'b')",
            "def __repr__(self):\n    return self.a + 1",
            "def f():\n    assert a is not None",
            "def f():\n    self.log.failure('it is so')",
            "Kind = A | dict[str, int]",
            "class P(Protocol):\n    def f(self):\n        return 1",
            "REASONS = {200: 'OK', 404: 'Not Found'}",
            "a = 'of several words'",
        ):
            self.assertEqual(changes(source), [], source)
        self.assertEqual(
            changes("def f():\n    raise E('text', 488)"), ["statement left out", "488 -> 489", "488 -> 487"]
        )

    def test_every_site_compiles(self) -> None:
        """Each site makes code, and other code than the original."""
        path = ROOT / "telephony" / "sdp" / "parser.py"
        source = path.read_text()
        original = ast.dump(ast.parse(source))
        sites = [one for one in sites_of(ROOT, "sdp") if one.path.endswith("/parser.py")]
        self.assertGreater(len(sites), 100)
        for site in sites:
            mutated(source, site.number, str(path))
            tree = ast.parse(source)
            _Search(tree).found[site.number].make()
            self.assertNotEqual(ast.dump(tree), original, site)


class EditTests(SynchronousTestCase):
    """``tests.mutation``: how a rule is taken out."""

    SOURCE = (
        "class A:\n    def f(self):\n        # why\n        if a( 1,\n          2 ):\n            b()\n        c()\n"
    )

    def made(self, within: str, old: str, new: str) -> str:
        """Return the source with an edit made."""
        tree = ast.parse(self.SOURCE)
        Edit("a.py", within, old, new).make(tree)
        return ast.unparse(ast.fix_missing_locations(tree))

    def test_expression(self) -> None:
        """However it is written."""
        self.assertIn("        if False:\n            b()\n", self.made("A.f", "a(1, 2)", "False"))

    def test_statement(self) -> None:
        """Left out, or another in its place."""
        self.assertNotIn("a(", self.made("A.f", "if a(1, 2):\n    b()", ""))
        self.assertIn("        e = 1\n        g()\n        c()", self.made("", "if a(1, 2):\n    b()", "e = 1\ng()"))

    def test_missing(self) -> None:
        """What isn't there once, isn't taken out."""
        self.assertRaises(MissingError, self.made, "A.f", "a(1)", "None")
        self.assertRaises(MissingError, self.made, "A.g", "b()", "None")
        self.assertRaises(MissingError, self.made, "", "self", "None")


class DrawTests(SynchronousTestCase):
    """``tests.mutation``: the draw."""

    def test_shares(self) -> None:
        """Each sub-package has its share, and the same seed draws the same."""

        def draw(seed: int) -> list[Site]:
            return drawn(ROOT, list(PACKAGES), 60, seed)[1]

        scores, chosen = drawn(ROOT, list(PACKAGES), 60, 1)
        self.assertEqual(len(set(chosen)), 60)
        total = sum(one.sites for one in scores.values())
        for package, score in scores.items():
            share = sum(one.package == package for one in chosen)
            self.assertLess(abs(share - 60 * score.sites / total), 1)
        self.assertEqual(draw(1), chosen)
        self.assertNotEqual(draw(2), chosen)


class ListTests(SynchronousTestCase):
    """The lists fit the tree."""

    def test_rules_are_there(self) -> None:
        """Issues 3 and 4: each of the rules can be taken out of the source as it is now."""
        self.assertEqual(len({rule.name for rule in RULES}), len(RULES))
        for rule in RULES:
            for path in rule.paths:
                compile(rule.taken_out(path, (ROOT / path).read_text()), path, "exec")

    def test_every_row_has_a_rule(self) -> None:
        """Issue 4: for each race at least one rule that is taken out, and no rule for what is no row."""
        named = {row for rule in RULES for row in rule.rows}
        self.assertEqual(set(ROWS) - named, set())
        self.assertEqual(named - set(ROWS), {"rule 8"})

    def test_equivalents_have_reasons(self) -> None:
        """Issue 3: each survivor that no test can kill has a sentence."""
        for (path, text, change, _), reason in known_equivalents(EQUIVALENT).items():
            self.assertTrue(reason.endswith("."), f"{path}: {change} in {text}")
