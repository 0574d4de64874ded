"""Where a source can be changed, and how: the sites of mutation.

Owns: the operators, what is no site (see `tests.mutation`), and making the changed code. Must not know tests.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import attrs

#: Puts another node in the place of one.
Put = Callable[[Any], None]

#: Two words, of which it doesn't take more to be read by people only.
_WORDING = re.compile(r"[a-z]\S* +\S*[a-z]|\(\)$")
_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_SIGNS: dict[type[ast.AST], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "//",
    ast.Div: "/",
    ast.Mod: "%",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.BitAnd: "&",
    ast.BitOr: "|",
}
_OTHER_CALL = {"min": "max", "max": "min", "any": "all", "all": "any"}
_PLAIN_CALLS = frozenset(("strip", "lstrip", "rstrip", "lower", "upper", "casefold"))
_COPIES = frozenset(("tuple", "list", "dict", "set"))
_NO_SITES = frozenset(("__slots__", "__all__", "T", "M"))


@attrs.frozen
class Site:
    """One change at one place: ``package`` is "sip", ``path`` relative to the tree, ``text`` the line as it stands.

    ``first`` to ``last`` are the lines that show that the place is reached; ``at_import`` says that it is reached by
    whoever imports the module. ``number`` counts the sites of the file, ``nth`` those of the same text and change.
    """

    package: str
    path: str
    number: int
    line: int
    first: int
    last: int
    at_import: bool
    text: str
    change: str
    nth: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.change}   in   {self.text}"


@attrs.frozen
class _Change:
    node: ast.AST
    statement: ast.stmt
    at_import: bool
    text: str
    make: Callable[[], None]


def sites_of(root: Path, package: str) -> list[Site]:
    """List the sites of ``telephony/<package>`` and what is in it, in an order that only the sources decide."""
    found: list[Site] = []
    for path in sorted((root / "telephony" / package).rglob("*.py")):
        source = path.read_text()
        lines = source.splitlines()
        seen: Counter[tuple[str, str]] = Counter()
        for number, change in enumerate(_Search(ast.parse(source)).found):
            line: int = getattr(change.node, "lineno", change.statement.lineno)
            text = lines[line - 1].strip()
            first, last = _extent(change.statement)
            name = str(path.relative_to(root))
            nth = seen[text, change.text]
            seen[text, change.text] += 1
            found.append(
                Site(package, name, number, line, first, last, change.at_import, text, change.text, nth),
            )
    return found


def mutated(source: str, number: int, filename: str) -> CodeType:
    """Compile a source with its site of that number changed."""
    tree = ast.parse(source)
    _Search(tree).found[number].make()
    code: CodeType = compile(ast.fix_missing_locations(tree), filename, "exec", dont_inherit=True)
    return code


def _extent(statement: ast.stmt) -> tuple[int, int]:
    """Return the lines of a statement, without the statements in it."""
    body = getattr(statement, "body", None)
    last = statement.end_lineno or statement.lineno
    if body:
        last = max(statement.lineno, body[0].lineno - 1)
    return statement.lineno, last


class _Search:
    """Goes through a tree and notes every change; making one changes that tree."""

    def __init__(self, tree: ast.Module) -> None:
        self.found: list[_Change] = []
        self._members: dict[str, list[str]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr.isupper():
                names = self._members.setdefault(node.value.id, [])
                if node.attr not in names:
                    names.append(node.attr)
        self._statement: ast.stmt = ast.Pass()
        self._at_import = True
        self._function: ast.FunctionDef | ast.AsyncFunctionDef | None = None
        self._wording = False
        self._block(tree.body)

    def _note(self, node: ast.AST, text: str, make: Callable[[], None]) -> None:
        self.found.append(_Change(node, self._statement, self._at_import, text, make))

    def _swap(self, node: ast.AST, text: str, put: Put, other: ast.AST) -> None:
        self._note(node, text, lambda: put(other))

    # Statements

    def _block(self, body: list[ast.stmt]) -> None:
        for index, statement in enumerate(body):
            self._one(statement, _into(body, index))

    def _one(self, node: ast.stmt, put: Put) -> None:
        if _is_no_site(node):
            return
        outer, self._statement = self._statement, node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._function_definition(node)
        elif isinstance(node, ast.ClassDef):
            self._block(node.body)
        else:
            self._removal(node, put)
            self._parts(node)
        self._statement = outer

    def _function_definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for values in (node.args.defaults, node.args.kw_defaults):
            for index, value in enumerate(values):
                if value is not None:
                    self._expression(value, _into(values, index))
        outer = self._function, self._at_import
        self._function, self._at_import = node, False
        self._block(node.body)
        self._function, self._at_import = outer

    def _removal(self, node: ast.stmt, put: Put) -> None:
        """Leave a statement out, or what it gives back."""
        inside = self._function is not None
        making = inside and self._function is not None and self._function.name == "__init__"
        gone = ast.copy_location(ast.Pass(), node)
        if isinstance(node, ast.Return):
            if node.value is None:
                self._swap(node, "return left out", put, gone)
            elif not isinstance(node.value, ast.Constant):
                none = ast.copy_location(ast.Return(ast.Constant(None)), node)
                self._swap(node, "returns None", put, none)
        elif isinstance(node, ast.Expr | ast.AugAssign | ast.Raise | ast.Continue | ast.Break | ast.Delete):
            if inside or not isinstance(node, ast.Expr):
                self._swap(node, "statement left out", put, gone)
        elif isinstance(node, ast.Assign) and not all(isinstance(one, ast.Name) for one in node.targets) and inside:
            if not making and not any(isinstance(one, ast.Tuple) for one in node.targets):
                self._swap(node, "statement left out", put, gone)
            elif making and not isinstance(node.value, ast.Constant | ast.Dict | ast.List):
                none_value = ast.copy_location(ast.Constant(None), node.value)
                self._note(node, "assigns None", lambda: setattr(node, "value", none_value))

    def _parts(self, node: ast.stmt) -> None:
        """Go into a statement, expressions first."""
        if isinstance(node, ast.If | ast.While):
            self._condition(node.test, _field(node, "test"))
        if isinstance(node, ast.For) and isinstance(node.iter, ast.Call) and _called(node.iter) in _COPIES:
            for argument in node.iter.args:
                self._swap(node.iter, "iterates without a copy", _field(node, "iter"), argument)
        if isinstance(node, ast.AugAssign) and type(node.op) in _ARITHMETIC:
            self._operator(node, node.op)
        wording, self._wording = self._wording, self._wording or isinstance(node, ast.Raise)
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "target", "targets"):
                continue
            if isinstance(value, ast.expr):
                self._expression(value, _field(node, field))
            elif isinstance(value, list):
                if value and isinstance(value[0], ast.stmt):
                    self._block(value)
                elif value and isinstance(value[0], ast.ExceptHandler):
                    for one in value:
                        self._except(one)
                elif value and isinstance(value[0], ast.withitem):
                    for item in value:
                        self._expression(item.context_expr, _field(item, "context_expr"))
        self._wording = wording

    def _except(self, node: ast.ExceptHandler) -> None:
        outer, self._statement = self._statement, node.body[0]
        again = [ast.copy_location(ast.Raise(), node)]
        if ast.dump(node.body[-1]) != ast.dump(ast.Raise()):
            self._note(node, "raises again", lambda: setattr(node, "body", again))
        self._statement = outer
        self._block(node.body)

    # Expressions

    def _condition(self, test: ast.expr, put: Put) -> None:
        """Turn a condition round; comparisons and ``not`` have changes of their own."""
        if not isinstance(test, ast.Compare | ast.UnaryOp | ast.Constant):
            other = ast.copy_location(ast.UnaryOp(ast.Not(), test), test)
            self._swap(test, "condition turned round", put, other)

    def _expression(self, node: ast.expr, put: Put) -> None:
        if isinstance(node, ast.Constant):
            self._constant(node, put)
            return
        if isinstance(node, ast.JoinedStr):
            if not self._wording and not _WORDING.search(ast.unparse(node)):
                self._children(node)
            return
        if isinstance(node, ast.Compare):
            for index, sign in enumerate(node.ops):
                for other in _COMPARISONS[type(sign)]:
                    self._swap(node, f"{_SIGNS[type(sign)]} -> {_SIGNS[other]}", _into(node.ops, index), other())
        elif isinstance(node, ast.BoolOp):
            other_sign: ast.boolop = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            names = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            self._swap(node, f"{names[0]} -> {names[1]}", _field(node, "op"), other_sign)
            for index, value in enumerate(node.values):
                less = _without(node.values, index)
                if len(node.values) == 2:
                    less = _replaced(put, node.values[1 - index])
                self._note(value, f"without {ast.unparse(value)}", less)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
            self._swap(node, f"without {'not' if isinstance(node.op, ast.Not) else 'minus'}", put, node.operand)
        elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            if not any(isinstance(one, ast.JoinedStr) or _is_text(one) for one in (node.left, node.right)):
                self._operator(node, node.op)
        elif isinstance(node, ast.IfExp):
            self._condition(node.test, _field(node, "test"))
        elif isinstance(node, ast.Call):
            self._call(node, put)
            return
        elif isinstance(node, ast.Dict):
            for index, key in enumerate(node.keys):
                if not _is_phrases(node):
                    entry = ast.unparse(key if key is not None else node.values[index])
                    self._note(key or node.values[index], f"entry {entry} left out", _without_entry(node, index))
            if _is_phrases(node):
                return
        elif isinstance(node, ast.Set | ast.List) and len(node.elts) > 1:
            for index, one in enumerate(node.elts):
                self._note(one, f"element {ast.unparse(one)} left out", _without(node.elts, index))
        elif isinstance(node, ast.Tuple) and all(isinstance(one, ast.Attribute | ast.Constant) for one in node.elts):
            # A tuple that is a list of things: the outputs of a transition, names, codes. A pair is left alone.
            if node.elts and (len(node.elts) > 2 or all(isinstance(one, ast.Attribute) for one in node.elts)):
                for index, one in enumerate(node.elts):
                    self._note(one, f"element {ast.unparse(one)} left out", _without(node.elts, index))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr.isupper():
            names_ = self._members[node.value.id]
            if len(names_) > 1:
                other_name = names_[(names_.index(node.attr) + 1) % len(names_)]
                self._note(node, f"{node.attr} -> {other_name}", lambda: setattr(node, "attr", other_name))
        self._children(node)

    def _children(self, node: ast.AST) -> None:
        for field, value in ast.iter_fields(node):
            if isinstance(value, ast.expr):
                if field not in ("annotation", "format_spec"):
                    self._expression(value, _field(node, field))
            elif isinstance(value, list):
                for index, one in enumerate(value):
                    if isinstance(one, ast.comprehension):
                        self._expression(one.iter, _field(one, "iter"))
                        for place, test in enumerate(one.ifs):
                            self._note(test, f"without if {ast.unparse(test)}", _without(one.ifs, place))
                            self._expression(test, _into(one.ifs, place))
                    elif isinstance(one, ast.expr):
                        self._expression(one, _into(value, index))

    def _operator(self, node: ast.AST, sign: ast.operator) -> None:
        other = _ARITHMETIC[type(sign)]
        self._swap(node, f"{_SIGNS[type(sign)]} -> {_SIGNS[other]}", _field(node, "op"), other())

    def _call(self, node: ast.Call, put: Put) -> None:
        name = _called(node)
        if name in ("cast", "TypeVar", "super"):
            return
        if name in _OTHER_CALL and isinstance(node.func, ast.Name):
            other = ast.copy_location(ast.Name(_OTHER_CALL[name], ast.Load()), node.func)
            self._swap(node, f"{name} -> {_OTHER_CALL[name]}", _field(node, "func"), other)
        if isinstance(node.func, ast.Attribute):
            if name in _PLAIN_CALLS:
                self._swap(node, f"without .{name}()", put, node.func.value)
            self._expression(node.func.value, _field(node.func, "value"))
        for index, keyword in enumerate(node.keywords):
            if keyword.arg is not None:
                self._note(keyword, f"argument {keyword.arg} left out", _without(node.keywords, index))
        wording, self._wording = self._wording, self._wording or name.endswith("Error") or name == "Hangup"
        for index, value in enumerate(node.args):
            if name != "isinstance" or index == 0:
                self._expression(value, _into(node.args, index))
        for keyword in node.keywords:
            self._expression(keyword.value, _field(keyword, "value"))
        self._wording = wording

    def _constant(self, node: ast.Constant, put: Put) -> None:
        value = node.value
        others: list[Any] = []
        if isinstance(value, bool):
            others = [not value]
        elif isinstance(value, int):
            others = [1] if value == 0 else [value + 1, value - 1]
        elif isinstance(value, float):
            others = [value * 2 if value else 1.0]
        elif isinstance(value, str) and not self._wording and not _WORDING.search(value):
            others = ["" if value else "mutated"]
        elif isinstance(value, bytes):
            others = [b"" if value else b"mutated"]
        for other in others:
            self._swap(node, f"{value!r} -> {other!r}", put, ast.copy_location(ast.Constant(other), node))


# What is no site


def _is_no_site(node: ast.stmt) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Assert | ast.Pass | ast.Global | ast.Nonlocal):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) or _is_logging(node.value)
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    if isinstance(node, ast.ClassDef):
        return any("Protocol" in ast.unparse(base) and "(" not in ast.unparse(base) for base in node.bases) and not any(
            isinstance(one, ast.FunctionDef) and one.name in ("__init__", "dataReceived") for one in node.body
        )
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name == "__repr__"
    if isinstance(node, ast.Assign):
        name = ast.unparse(node.targets[0])
        return name in _NO_SITES or _is_alias(node.value)
    return False


def _is_logging(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and re.search(r"\b_?log\.", ast.unparse(node.func)) is not None


def _is_alias(value: ast.expr) -> bool:
    """Tell whether a value is a type."""
    if isinstance(value, ast.BinOp):
        return isinstance(value.op, ast.BitOr) and _is_alias(value.left) and _is_alias(value.right)
    if isinstance(value, ast.Subscript):
        return ast.unparse(value.value) in ("Callable", "dict", "list", "tuple", "Sequence", "Mapping", "Deferred")
    return isinstance(value, ast.Name) and value.id[:1].isupper()


def _is_phrases(node: ast.Dict) -> bool:
    """Tell whether a table is one of words for numbers."""
    return bool(node.keys) and all(
        isinstance(key, ast.Constant) and isinstance(key.value, int) and _is_text(value)
        for key, value in zip(node.keys, node.values, strict=True)
    )


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


# Changing a tree


def _into(values: list[Any], index: int) -> Put:
    def put(other: Any) -> None:
        values[index] = other

    return put


def _field(node: ast.AST, name: str) -> Put:
    def put(other: Any) -> None:
        setattr(node, name, other)

    return put


def _without(values: list[Any], index: int) -> Callable[[], None]:
    def make() -> None:
        del values[index]

    return make


def _replaced(put: Put, other: ast.AST) -> Callable[[], None]:
    return lambda: put(other)


def _without_entry(node: ast.Dict, index: int) -> Callable[[], None]:
    def make() -> None:
        del node.keys[index], node.values[index]

    return make


def everything(root: Path, packages: list[str]) -> Iterator[Site]:
    """Go through the sites of several sub-packages."""
    for package in packages:
        yield from sites_of(root, package)
