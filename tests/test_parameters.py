"""Every public function, method and class documents its arguments, and no others."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("features", "forecasting", "flows")
SECTION = re.compile(r"^(Parameters|Attributes)\n-+\n(.*?)(?=^\S[^\n]*\n-{3,}\n|\Z)", re.MULTILINE | re.DOTALL)
NONE = "has no Parameters section"
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def documented(text, *titles):
    """The names in these sections of a docstring; None without such a section."""
    bodies = [match[2] for match in SECTION.finditer(text or "") if match[1] in titles]
    entries = [line.split(" :")[0] for body in bodies for line in body.splitlines() if line[:1].strip()]
    return {name.strip().lstrip("*") for entry in entries for name in entry.split(",")} if bodies else None


def named(node):
    """The last part of a decorator's or a base's name: "dataclass" of ``@dataclasses.dataclass(frozen=True)``."""
    while isinstance(node, ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def arguments(function, of_class):
    """Names of the arguments without self, cls and private ones."""
    given = function.args
    names = [each.arg for each in (*given.posonlyargs, *given.args)]
    if of_class and "staticmethod" not in map(named, function.decorator_list):
        names = names[1:]
    names += [each.arg for each in (given.vararg, *given.kwonlyargs, given.kwarg) if each is not None]
    return {name for name in names if not name.startswith("_")}


def fields(kind):
    """Fields of a dataclass or a named tuple that its constructor takes; None for another class."""
    if not {"dataclass", "NamedTuple"} & {named(each) for each in (*kind.decorator_list, *kind.bases)}:
        return None
    lines = [line for line in kind.body if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)]
    return {
        line.target.id for line in lines
        if not line.target.id.startswith("_") and "ClassVar" not in ast.unparse(line.annotation)
        and "init=False" not in (ast.unparse(line.value) if line.value else "")
    }  # fmt: skip


def described(kind):
    """Fields with a docstring of their own below them."""
    return {
        line.target.id for line, text in zip(kind.body, kind.body[1:], strict=False)
        if isinstance(line, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }  # fmt: skip


class Documented:
    """Looks up what the classes of some files document, those that they inherit included."""

    def __init__(self, trees):
        self.classes = {each.name: each for tree in trees for each in ast.walk(tree) if isinstance(each, ast.ClassDef)}

    def bases(self, kind):
        """The classes that a class inherits from, the nearest first; None for one of another library.

        A protocol that the first line of its docstring names counts as one: "`Quantities` as arrays".
        """
        summary = (ast.get_docstring(kind) or "").partition("\n")[0]
        protocols = [self.classes[name] for name in re.findall(r"`(\w+)`", summary) if name in self.classes]
        yield from (each for each in protocols if "Protocol" in map(named, each.bases))
        for base in kind.bases:
            found = self.classes.get(named(base))
            if found is not None and found is not kind:  # `class LSTM(nn.LSTM)` has another library's base
                yield found
                yield from self.bases(found)
            elif named(base) not in ("ABC", "Protocol", "Generic", "NamedTuple", "Exception"):
                yield None

    def takes_over(self, kind, method):
        """Whether a base documents a method's arguments; another library's does for a method without a docstring."""
        for base in self.bases(kind):
            there = [line for line in base.body if getattr(line, "name", "") == method.name] if base else []
            if base is None and ast.get_docstring(method) is None:
                return True
            if any(documented(ast.get_docstring(line), "Parameters") for line in there):
                return True
        return False

    def faults(self, tree):
        """Line, name and fault of each incomplete docstring."""
        for node in tree.body:
            if isinstance(node, FUNCTION):
                yield from self._of_function(node, None)
            elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield from self._of_class(node)
                for line in node.body:
                    if isinstance(line, FUNCTION):
                        yield from self._of_function(line, node)

    def _of_function(self, function, kind):
        decorators = {named(each) for each in function.decorator_list}
        names = arguments(function, kind is not None)
        if function.name.startswith("_") or decorators & {"overload", "setter", "command", "group"}:
            return  # the docstring of a command is its --help, where options explain themselves
        found = documented(ast.get_docstring(function), "Parameters")
        if found is not None or kind is None or not self.takes_over(kind, function):
            yield from fault(function, names, found)

    def _of_class(self, kind):
        text, made = ast.get_docstring(kind), fields(kind)
        own = documented(text, "Parameters")
        if made is not None:
            found = documented(text, "Parameters", "Attributes") or set()
            yield from fault(kind, made, (found | described(kind) or None), stale=(own or set()) - made)
            return
        constructor = next((line for line in kind.body if getattr(line, "name", "") == "__init__"), None)
        if constructor is None:
            return
        names = arguments(constructor, True)
        inherited = [documented(ast.get_docstring(base), "Parameters") for base in self.bases(kind) if base is not None]
        known = set().union(*(each for each in inherited if each))  # `complete_docstring` adds them
        yield from fault(kind, names, None if own is None else own | known & names)


def fault(node, names, found, stale=None):
    """The fault of one docstring, if there is one."""
    if names and found is None:
        yield node.lineno, node.name, NONE
    elif missing := names - (found or set()):
        yield node.lineno, node.name, f"does not document {', '.join(sorted(missing))}"
    elif more := (found or set()) - names if stale is None else stale:
        yield node.lineno, node.name, f"documents {', '.join(sorted(more))}, which it does not take"


def trees():
    paths = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def test_every_public_argument_is_documented_and_no_other():
    found = trees()
    look = Documented(found.values())
    faults = [
        f"{path.relative_to(ROOT)}:{line} {name} {said}"
        for path, tree in found.items()
        for line, name, said in look.faults(tree)
    ]
    assert len(found) > 200
    assert faults == []


def faults_of(text):
    tree = ast.parse(text)
    return [(name, said) for _, name, said in Documented([tree]).faults(tree)]


COMPLETE = '"""Do.\n\n    Parameters\n    ----------\n    x, y : int\n    *more : int\n    """'


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("def f(x): ...", [("f", NONE)]),
        ("def _f(x): ...", []),
        ("def f(): ...", []),
        (f"def f(x, y, *more):\n    {COMPLETE}", []),
        (f"def f(x, y, *more, z):\n    {COMPLETE}", [("f", "does not document z")]),
        (f"def f(x, *more):\n    {COMPLETE}", [("f", "documents y, which it does not take")]),
        (f"def f():\n    {COMPLETE}", [("f", "documents more, x, y, which it does not take")]),
        ("@main.command()\ndef f(x): ...", []),
        ("class A:\n  def f(self, x): ...", [("f", NONE)]),
        ("class A:\n  def __init__(self, x): ...", [("A", NONE)]),
        (f"class A:\n    {COMPLETE}\n    def __init__(self, x, y, *more): ...", []),
        (f"class A:\n    {COMPLETE}\n    def __init__(self): ...",
         [("A", "documents more, x, y, which it does not take")]),
        (f"class A:\n  def f(self, x, y, *more):\n    {COMPLETE}\nclass B(A):\n  def f(self, x, y, *more): ...", []),
        ("class A:\n  def f(self, x): ...\nclass B(A):\n  def f(self, x): ...", 2 * [("f", NONE)]),
        ("class A(nn.Module):\n  def forward(self, x): ...", []),
        ('class A(nn.Module):\n  def f(self, x):\n    """Do."""', [("f", NONE)]),
        ("@dataclass\nclass A:\n  x: int\n", [("A", NONE)]),
        ('@dataclass\nclass A:\n  x: int\n  """Its width."""\n', []),
        ("class A(NamedTuple):\n  x: int\n", [("A", NONE)]),
    ],
)  # fmt: skip
def test_an_incomplete_docstring_is_found(text, faults):
    assert faults_of(text) == faults
