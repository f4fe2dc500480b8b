"""The house keeps its rules: sizes, words, rooms, and one list of packages."""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import re
import subprocess
import tokenize
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from runpy import run_path

ROOT = Path(__file__).resolve().parents[3]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ROOMS = [
    room
    for room in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    if room != "scenarios"
]

LONGEST_FUNCTION = 60  # lines, without its docstring
WIDEST_CONSTRUCTOR = 8
APP_LINES = 80
FULLEST_FOLDER = 12  # modules
MOST_POSITIONAL = 2  # arguments of a constructor

# The private words that the field's have replaced (docs/tour.md speaks the new ones).
OLD_WORDS = [
    "muster",
    "roster",
    "briefing",
    "boarded",
    "manned",
    "parked",
    "at_once",
    "under_way",
    "left_over",
    "departure",
    "depart",
    "regime",
    "BackboneSteps",
    "CentralGround",
    "Contribution",
    "SealedManifest",
    "ParcelLink",
    "PassageLog",
    "Switches",
    "Journal",
    "LASER",
    "side_terminals",
    "cohort",
    "told",
    "go_on",
    "journal",
    "passages",
    "patience",
    "patience_s",
    "trouble",
    "clearance",
    "suitable_search",
    "verdict",
    "edge_of",
]


# Words of OLD_WORDS that are also plain English: pages, protocols, settings and file names may use them.
PLAIN_ENGLISH = {
    "briefing", "manned", "departure", "depart", "Contribution", "Switches", "Journal", "LASER", "told", "journal",
    "trouble", "clearance",
}  # fmt: skip
NOT_EVEN_IN_TEXT = [*(word for word in OLD_WORDS if word not in PLAIN_ENGLISH), "at-once"]
ALIASES = {  # names of versions before 0.2 that are still read
    "CHANGELOG.md": {"at-once", "passages", "verdict"},
    "docs/commands.md": {"at-once"},
    "relay/wire/service.py": {"passages"},
    "mission/record.py": {"passages"},
    "skysplit/commands/runs.py": {"at-once"},
    "server_app/checkpoint.py": {"under_way", "left_over"},
    "tests/mission/test_clock_and_record.py": {"passages"},
    "tests/server_app/missions/test_fine_tuning.py": {"under_way", "left_over"},
}
# A docstring says what to do, or names the thing; it is no fragment of a question.
QUESTION_WORDS = {"What", "Who", "Whoever", "Whose", "Which", "When", "Where", "How", "Of"}


NAMES_THAT_SAY_NOTHING = {
    "told",
    "said",
    "found",
    "mine",
    "who",
    "there",
    "one",
}  # of a variable or an argument


@functools.cache
def files(*rooms: str) -> list[Path]:
    """Python files of these rooms that git knows."""
    listed = subprocess.run(
        ["git", "ls-files", *rooms], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    return [ROOT / name for name in listed if name.endswith(".py") and not name.endswith("_pb2.py")]


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(tree_of(path)))


@functools.cache
def functions(path: Path) -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    where = path.relative_to(ROOT).as_posix()
    return [
        (f"{where}:{node.name}", node)
        for node in nodes_of(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


@functools.cache
def classes(path: Path) -> list[ast.ClassDef]:
    return [node for node in nodes_of(path) if isinstance(node, ast.ClassDef)]


def imported_from_others(path: Path) -> set[str]:
    """Names that a module imports from packages that are not ours."""
    return {
        name.asname or name.name
        for node in nodes_of(path)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] not in ROOMS
        for name in node.names
    }


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = (node.end_lineno or 0) - node.lineno + 1
    if ast.get_docstring(node, clean=False) is not None:
        lines -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
    return lines


def test_the_two_apps_are_two_screens_each() -> None:
    for app in ("server_app/server_app.py", "client_app/client_app.py"):
        assert len((ROOT / app).read_text(encoding="utf-8").splitlines()) <= APP_LINES, app


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        name for path in files(*ROOMS) for name, node in functions(path) if lines_of(node) > LONGEST_FUNCTION
    }
    assert long == set()


def test_no_constructor_is_wide() -> None:
    wide = set()
    for path in files(*ROOMS):
        for name, node in functions(path):
            parameters = len(node.args.args) - 1 + len(node.args.kwonlyargs)
            if node.name == "__init__" and parameters > WIDEST_CONSTRUCTOR:
                wide.add(name)
    assert wide == set()


def test_constructors_take_two_positional_arguments_at_most() -> None:
    positional = {
        name
        for path in files(*ROOMS)
        for name, node in functions(path)
        if node.name == "__init__" and len(node.args.args) - 1 > MOST_POSITIONAL
    }
    assert positional == set()


def is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def positional_fields(node: ast.ClassDef) -> list[str]:
    """Return the fields of a dataclass that its constructor takes without their names."""
    if any("kw_only=True" in ast.unparse(decorator) for decorator in node.decorator_list):
        return []
    names = []
    for field in node.body:
        if not isinstance(field, ast.AnnAssign):
            continue
        annotation, value = ast.unparse(field.annotation), ast.unparse(field.value) if field.value else ""
        if "KW_ONLY" in annotation:
            break
        if "ClassVar" not in annotation and "init=False" not in value:
            names.append(ast.unparse(field.target))
    return names


def test_dataclasses_take_two_positional_arguments_at_most() -> None:
    """A NamedTuple cannot be told to; the test below keeps its call sites."""
    positional = {
        f"{path.relative_to(ROOT)}:{node.name}"
        for path in files(*ROOMS)
        for node in classes(path)
        if is_dataclass(node) and len(positional_fields(node)) > MOST_POSITIONAL
    }
    assert positional == set()


def test_what_follows_two_positional_arguments_of_our_classes_is_named() -> None:
    ours = {node.name for path in files(*ROOMS) for node in classes(path)}
    unnamed = set()
    for path in files(*ROOMS):
        others = imported_from_others(path)
        for node in nodes_of(path):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
                continue
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            starred = any(isinstance(argument, ast.Starred) for argument in node.args)
            if called in ours - others and not starred and len(node.args) > MOST_POSITIONAL:
                unnamed.add(f"{path.relative_to(ROOT)}:{node.lineno} {called}")
    assert unnamed == set()


def test_no_two_public_types_have_one_name() -> None:
    places = defaultdict(set)
    for path in files(*ROOMS):
        for node in classes(path):
            if not node.name.startswith("_"):
                places[node.name].add(path.relative_to(ROOT).as_posix())
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_folder_is_full() -> None:
    modules = Counter(
        path.parent.relative_to(ROOT).as_posix() for path in files(*ROOMS) if path.stem != "__init__"
    )
    assert {folder for folder, number in modules.items() if number > FULLEST_FOLDER} == set()


def test_old_words_are_gone() -> None:
    old = {word.lower() for word in OLD_WORDS}
    anywhere = re.compile(rf"(?<![a-z0-9])({'|'.join(map(re.escape, old))})(?![a-z0-9])", re.IGNORECASE)
    found = set()
    for path in files():
        text = path.read_text(encoding="utf-8")
        if path == Path(__file__).resolve() or not anywhere.search(text):
            continue
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.NAME and token.string.strip("_").lower() in old:
                found.add(f"{path.relative_to(ROOT)}:{token.start[0]} {token.string}")
    assert found == set()


def test_no_page_protocol_setting_or_file_has_an_old_word() -> None:
    anywhere = re.compile(rf"(?<![A-Za-z0-9_])({'|'.join(NOT_EVEN_IN_TEXT)})(?![A-Za-z0-9_])", re.IGNORECASE)
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = set()
    for name in listed.splitlines():
        path = ROOT / name
        if path == Path(__file__).resolve() or not path.is_file():
            continue
        words = {word.lower() for word in anywhere.findall(name.replace("/", " "))}
        with contextlib.suppress(UnicodeDecodeError):
            words |= {word.lower() for word in anywhere.findall(path.read_text(encoding="utf-8"))}
        words -= ALIASES.get(name, set())
        found |= {f"{name}: {word}" for word in words}
    assert found == set()


def test_public_docstrings_are_no_fragments_of_questions() -> None:
    """Those of the schema are the headings of tables, on the page of scenario keys."""
    fragments = set()
    for path in files(*ROOMS):
        if path == ROOT / "mission" / "schema.py":
            continue
        for node in nodes_of(path):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            words = (ast.get_docstring(node) or "-").split()
            if not node.name.startswith("_") and words[0].strip(",;:.") in QUESTION_WORDS:
                fragments.add(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {' '.join(words[:8])}")
    assert fragments == set()


def test_the_list_of_packages_is_the_same_wherever_it_has_to_stand() -> None:
    tool = PYPROJECT["tool"]
    assert tool["mypy"]["packages"] == ROOMS
    assert tool["importlinter"]["root_packages"] == ROOMS
    bundled = {line.split("/")[1] for line in tool["flwr"]["app"]["fab-include"]}
    assert bundled == {*ROOMS, "scenarios"}
    assert set(tool["vulture"]["paths"]) == {*ROOMS, "benchmarks", "tests"}
    image = set(re.findall(r"^!(\w+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.M))
    assert image >= {*ROOMS, "scenarios"}


def test_the_tour_names_the_lines_of_today() -> None:
    tour = run_path(str(ROOT / "docs" / "tour_lines.py"))
    text = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
    assert tour["renewed"](text) == text, "python docs/tour_lines.py"


def test_variables_and_arguments_say_what_they_hold() -> None:
    named = [
        f"{path.relative_to(ROOT).as_posix()}: {name}"
        for path in files(*ROOMS)
        for node in nodes_of(path)
        if (name := _bound_name(node)) in NAMES_THAT_SAY_NOTHING
    ]
    assert named == ["skysplit/commands/doctor.py: found"]  # a column of its table


def _bound_name(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    return node.arg if isinstance(node, ast.arg) else None
