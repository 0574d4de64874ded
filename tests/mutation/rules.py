"""What a rule of ``transfer.md`` is here: its rows, the tests that are named for them, and how it is taken out.

Owns: finding the code that holds a rule, and changing it. Must not know which rules there are (`tests.mutation.races`)
nor how tests are run.

An edit is found by its syntax tree within one function, class or module, so that neither comments nor line breaks nor
what surrounds it matter; it must be there exactly once.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from typing import Any

import attrs


class MissingError(ValueError):
    """The code that holds a rule isn't there, or more than once."""


@attrs.frozen
class Edit:
    """``old`` becomes ``new`` in what ``within`` names of a module: ``Class.method``, or "" for all of it.

    Both are expressions, or ``old`` is one statement and ``new`` any number of them.
    """

    path: str
    within: str
    old: str
    new: str

    def make(self, tree: ast.Module) -> None:
        """Change a tree. Raises `MissingError`."""
        scope = _named(tree, self.within.split(".") if self.within else [])
        if scope is None:
            raise MissingError(f"{self.path} has no {self.within}")
        try:
            wanted: ast.AST = ast.parse(self.old.strip(), mode="eval").body
            new: Any = ast.parse(self.new.strip(), mode="eval").body
            found = [put for node, put in _expressions(scope) if ast.dump(node) == ast.dump(wanted)]
        except SyntaxError:
            [wanted] = ast.parse(self.old).body
            new = ast.parse(self.new).body or [ast.Pass()]
            found = [put for node, put in _statements(scope) if ast.dump(node) == ast.dump(wanted)]
        if len(found) != 1:
            raise MissingError(
                f"{self.path}, {self.within or 'the module'}: what is to be taken out is there {len(found)} times: "
                f"{self.old}"
            )
        found[0](new)


@attrs.frozen
class Rule:
    """A rule: its ``text``, the ``rows`` of the table of races it belongs to, and by which ``edits`` nobody keeps it.

    Several edits are several places that hold the same rule: one alone would not be noticed, since the other holds it.
    A row like ``rule 8`` is one of the rules that always hold.
    """

    rows: tuple[str, ...]
    text: str
    edits: tuple[Edit, ...]
    #: What the names of its tests have in them besides the rows, for rules that are no row.
    also: str = ""

    @property
    def name(self) -> str:
        """The rows and the text, in a line."""
        return f"{', '.join(self.rows)}: {self.text}"

    @property
    def paths(self) -> list[str]:
        """The files that are changed, each once."""
        return list(dict.fromkeys(edit.path for edit in self.edits))

    def taken_out(self, path: str, source: str) -> ast.Module:
        """Return one of the files without the rule. Raises `MissingError`."""
        tree = ast.parse(source)
        for edit in self.edits:
            if edit.path == path:
                edit.make(tree)
        return ast.fix_missing_locations(tree)

    def is_named_by(self, row: str, test: str) -> bool:
        """Tell whether a test's name says a row."""
        word = self.also if self.also and row.startswith("rule") else re.escape(row.lower())
        return re.search(rf"_{word}(_|$)", test.rpartition(".")[2]) is not None


def _named(tree: ast.AST, names: list[str]) -> ast.AST | None:
    for name in names:
        inside = (one for one in ast.iter_child_nodes(tree) if isinstance(one, ast.ClassDef | ast.FunctionDef))
        found = next((one for one in inside if one.name == name), None)
        if found is None:
            return None
        tree = found
    return tree


def _expressions(scope: ast.AST) -> Iterator[tuple[ast.AST, Callable[[Any], None]]]:
    for node in ast.walk(scope):
        for name, value in ast.iter_fields(node):
            if isinstance(value, ast.expr):
                yield value, _setter(node, name)
            elif isinstance(value, list):
                for index, one in enumerate(value):
                    if isinstance(one, ast.expr):
                        yield one, _replacer(value, index)


def _statements(scope: ast.AST) -> Iterator[tuple[ast.AST, Callable[[Any], None]]]:
    for node in ast.walk(scope):
        for _name, value in ast.iter_fields(node):
            if isinstance(value, list):
                for index, one in enumerate(value):
                    if isinstance(one, ast.stmt):
                        yield one, _splicer(value, index)


def _setter(node: ast.AST, name: str) -> Callable[[Any], None]:
    return lambda new: setattr(node, name, new)


def _replacer(values: list[Any], index: int) -> Callable[[Any], None]:
    def put(new: Any) -> None:
        values[index] = new

    return put


def _splicer(values: list[Any], index: int) -> Callable[[Any], None]:
    def put(new: Any) -> None:
        values[index : index + 1] = new

    return put
