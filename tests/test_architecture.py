"""The rules of the layout, read from the source: imports point downwards, and so on."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sora_search

PACKAGE = Path(sora_search.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# Low to high: a station imports only from rows below its own, and from itself.
ROWS: list[set[str]] = [
    {"datatypes", "errors", "config"},
    {"media"},
    {"sora"},
    {"learning", "index"},
    {"retrieval"},
    {"applications"},
    {"backends"},
    {"cli", "web"},
]
ROW_OF = {station: row for row, stations in enumerate(ROWS) for station in stations}
ENTRANCES = {"__init__", "__main__"}  # the doors of the package see all of it

# Foreign library -> the modules or folders that may import it.
OWNERS = {
    "av": ["media"],
    "faiss": ["index/vector_index.py"],
    "sqlalchemy": [
        "index/catalog.py",
        "index/connecting.py",
        "index/migration.py",
        "index/tables.py",
        "index/verdict_log.py",
    ],
    "alembic": ["index/migration.py"],
    "onnxruntime": ["sora/inference.py"],
    "torch": ["sora", "learning"],
    "onnx": ["sora/export.py"],
    "safetensors": ["sora/adapter.py", "sora/checkpoint.py"],
    "tensorboard": ["learning/journal.py"],
    "PIL": ["media/rendering.py"],
    "cv2": [
        "media",
        "retrieval/agreement.py",
        "retrieval/circles.py",
        "retrieval/footage.py",
        "retrieval/overlay.py",
        "retrieval/stills.py",
    ],
    "typer": ["cli"],
    "rich": ["cli"],
    "click": [],
}
FORBIDDEN_WORDS = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
HEAVY = {"torch", "faiss", "av", "sqlalchemy", "onnxruntime", "cv2"}


def station_of(module: Path) -> str:
    """The folder of a module below the package, or its own name on the top level."""
    parts = module.relative_to(PACKAGE).parts
    return parts[0].removesuffix(".py")


def imports_of(module: Path) -> Iterator[tuple[str, int]]:
    """Every name that a module imports, with its line: `sora_search.media.probing`, `av`, ...

    `import sora_search as ss; ss.search` counts as an import of `sora_search.retrieval`.
    """
    tree = ast.parse(module.read_bytes())
    package_names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "sora_search":
                    package_names.add(alias.asname or alias.name)
                else:
                    yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: imports are absolute"
            assert node.module is not None
            if node.module == "sora_search":
                yield from ((f"sora_search.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            home = sora_search._MODULE_OF.get(node.attr)
            if node.value.id in package_names and home is not None:
                yield f"sora_search.{home}", node.lineno


def test_imports_point_downwards():
    wrong = []
    for module in MODULES:
        station = station_of(module)
        for name, line in imports_of(module):
            package, _, rest = name.partition(".")
            target = rest.split(".")[0]
            if package != "sora_search" or station in ENTRANCES or target == station:
                continue
            both_lowest = ROW_OF[target] == ROW_OF[station] == 0
            if ROW_OF[target] >= ROW_OF[station] and not both_lowest:
                wrong.append(f"{module.relative_to(PACKAGE)}:{line} imports {name}")
    assert not wrong


def test_foreign_libraries_stay_with_their_owners():
    wrong = []
    for module in MODULES:
        place = module.relative_to(PACKAGE)
        for name, line in imports_of(module):
            owners = OWNERS.get(name.split(".")[0])
            if owners is not None and not any(place.is_relative_to(owner) for owner in owners):
                wrong.append(f"{place}:{line} imports {name}, which belongs to {owners}")
    assert not wrong


def test_the_picture_of_the_folders_names_the_modules_that_look_at_pixels():
    rows = (PACKAGE.parent / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()
    [row] = [row for row in rows if row.startswith("| `retrieval/`")]
    owners = [Path(owner).name for owner in OWNERS["cv2"] if owner != "media"]
    assert [name for name in owners if f"`{name}`" not in row] == []


def test_no_module_has_a_name_that_says_nothing():
    names = {path.stem for path in MODULES} | {path.parent.name for path in MODULES}
    assert not names & FORBIDDEN_WORDS


def test_no_public_function_has_the_name_of_a_module():
    modules = {path.stem for path in MODULES} | {path.parent.name for path in MODULES}
    wrong = [
        f"{module.relative_to(PACKAGE)}:{node.lineno} {node.name}"
        for module in MODULES
        for node in ast.parse(module.read_bytes()).body
        if isinstance(node, ast.FunctionDef) and node.name in modules
    ]
    assert not wrong


@pytest.mark.parametrize("path", ["sora_search", "migrations", "examples"])
def test_every_module_says_what_it_is(path):
    for module in sorted((PACKAGE.parent / path).rglob("*.py")):
        assert ast.get_docstring(ast.parse(module.read_bytes())), f"{module} has no docstring"


@pytest.mark.parametrize(
    "code",
    [
        "import sora_search; dir(sora_search)",
        "import sora_search.cli as c, sys; sys.argv = ['sora-search', '--help']; c.main()",
    ],
)
def test_import_and_help_are_light(code):
    watch = (
        f"import atexit, sys; atexit.register(lambda: print('heavy:', {HEAVY} & {{*sys.modules}}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", f"{watch}; {code}"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith("heavy: set()\n")
