"""Data flows one way: a room of the package imports only from rooms below it, and so do the modules in a room."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import multiprompt

ROOT = Path(multiprompt.__file__).parent

LEVELS = [
    ["_version", "definition", "errors", "lazy", "text"],
    [
        "batch",
        "examples",
        "files",
        "network",
        "options",
        "parallel",
        "registry",
        "seeding",
        "strict_yaml",
        "terms",
    ],
    ["health", "losses", "metrics", "mini", "plan", "prompts", "token_files"],
    ["backbone", "tasks"],
    ["config", "data", "methods"],
    ["evaluation", "training"],
    ["recipes"],
    ["runs"],
    ["forecast", "reports"],
    ["analysis"],
    ["studies"],
    ["cli"],
]
LEVEL_OF = {part: level for level, parts in enumerate(LEVELS) for part in parts}

INSIDE = {
    "backbone": [
        ["checkpoint_files", "costs", "dropout", "packing", "products", "shape"],
        ["fingerprint"],
        ["texts"],
        ["base"],
        ["t5"],
        ["published"],
        ["loading"],
    ],
    "backbone.t5": [["loading", "sizes", "sublayers"], ["attention"], ["fast"], ["passes"], ["model"]],
    "recipes": [
        ["prepare", "shipped"],
        ["stage_training", "use"],
        ["alone"],
        ["source", "target", "teacher"],
        ["adapted"],
    ],
    "runs": [
        ["outcome", "run_folder", "setup_notes", "stage_folder", "stage_options"],
        ["materials"],
        ["graph"],
        ["execute", "settle", "trained_stage"],
        ["finished_run", "ray_worker", "survey"],
        ["ray_cluster"],
        ["whole_run"],
    ],
    "forecast": [["hours", "stand_ins"], ["parameters", "workload"], ["disk", "measure"], ["estimate"]],
    "methods": [
        ["arithmetic", "base", "prompt_starts", "stored"],
        ["start"],
        ["attempt", "dept", "fine_tuning", "inserted", "peft_library", "prompt_tuning"],
        ["adapters", "bitfit", "decomposed_prompt_tuning", "distillation", "spot"],
        ["build", "mpt", "written"],
        ["hyperdecoder", "hyperformer"],
    ],
}
"""The same inside of the rooms that have many modules: read from top to bottom, a table of contents."""

FAMILY_WORDS = re.compile(r"(?<![a-z])t5(?![a-z])|(?<![a-z])(en|de)coders?(?![a-z])", re.IGNORECASE)
"""What only ``backbone`` should know of."""

MODEL_NAMES = re.compile(r"(google/)?t5-(small|base|large)[\w-]*", re.IGNORECASE)
"""Names of published models may stand in examples and defaults."""

FAMILY_IS_NAMED = {
    "methods/hyperdecoder.py": "defined on two stacks alone",
    "methods/hyperformer.py": "published with two stacks",
    "methods/peft_library.py": "what the peft library does with a model depends on its family",
    "options/records/hyperdecoder.py": "defined on two stacks alone",
    "options/records/prefix_tuning.py": "what the peft library does with a model depends on its family",
    "tasks/text.py": "formats of the published code base of that name",
    "tasks/answers.py": "rounding of the published code base of that name",
    "metrics/classification.py": "treatment of invalid answers in the published code base of that name",
    "metrics/correlation.py": "treatment of invalid answers in the published code base of that name",
}
"""Modules outside ``backbone`` that may name a family of models, and why."""

MODEL_IS_TOUCHED = {
    "methods/hyperdecoder.py": "its codes are the states of one of two stacks",
    "methods/peft_library.py": "peft takes the transformers model itself",
}
"""Modules outside ``backbone`` that may touch the model inside of one, and why."""

NO_TORCH = [
    "tasks",
    "metrics",
    "mini",
    "health",
    "reports",
    "config",
    "options",
    "errors",
    "evaluation.differences",
    "evaluation.results",
    "evaluation.summaries",
    "token_files",
    "backbone.published",
    "terms",
    "network",
]
"""Modules that a laptop without torch could use."""


def modules() -> list[Path]:
    found = sorted(
        path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem not in ("__init__", "__main__")
    )
    assert len(found) > 150
    return found


def imported_parts(path: Path) -> set[str]:
    """Parts of multiprompt that a module imports, those inside functions included."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            names = [node.module or ""]
            if node.module == "multiprompt":
                names = [f"multiprompt.{alias.name}" for alias in node.names]
        parts |= {name.split(".")[1] for name in names if name.startswith("multiprompt.")}
    return parts


def test_imports_point_down():
    imports = [(path, other) for path in modules() for other in imported_parts(path)]
    assert len({path for path, _ in imports}) > 100
    wrong = []
    for path, other in imports:
        part = path.relative_to(ROOT).parts[0].removesuffix(".py")
        assert part in LEVEL_OF, f"{part} has no level; give it one here and in docs/architecture.md"
        if other != part and not other.startswith("__") and LEVEL_OF[other] >= LEVEL_OF[part]:  # but for the version
            wrong.append(f"{path.relative_to(ROOT)} imports {other}, which is not below it")
    assert wrong == []


def imports_of(path: Path) -> set[str]:
    """Modules of multiprompt that a module imports when it runs, by their names within the package."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hints = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    skipped = {inner for node in hints for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if module_file(inner.removeprefix("multiprompt.")) else node.module or "")
    return {name.removeprefix("multiprompt.") for name in found if name.startswith("multiprompt.")}


def module_file(name: str) -> Path | None:
    place = ROOT.joinpath(*name.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.exists()), None)


@pytest.mark.parametrize("room", INSIDE)
def test_imports_inside_a_room_point_down(room):
    folder = ROOT.joinpath(*room.split("."))
    level_of = {name: level for level, names in enumerate(INSIDE[room]) for name in names}
    own = {path.stem if path.is_file() else path.name for path in folder.iterdir() if module_in(path)}
    assert own == set(level_of), f"give each module of {room} its level, here and in docs/architecture.md"
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).parts[0].removesuffix(".py")
        if name == "__init__":
            continue
        for other in imports_of(path):
            inner = other.removeprefix(f"{room}.").partition(".")[0]
            if other.startswith(f"{room}.") and inner != name:
                assert level_of[inner] < level_of[name], f"{room}.{name} imports {inner}, which is not below it"


def module_in(path: Path) -> bool:
    return (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()


def test_no_import_goes_round_in_a_circle():
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in modules()
    }
    left = {name: {other for other in imports_of(path) if other in names} - {name} for name, path in names.items()}
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}


def test_only_backbone_knows_families_of_models():
    named, touched = set(), set()
    for path in modules():
        place = path.relative_to(ROOT).as_posix()
        if place.startswith("backbone/"):
            continue
        text = MODEL_NAMES.sub("", path.read_text(encoding="utf-8"))
        if FAMILY_WORDS.search(text):
            named.add(place)
        if re.search(r"backbone(\(\))?\.model\b", text):
            touched.add(place)
    assert named == set(FAMILY_IS_NAMED)
    assert touched == set(MODEL_IS_TOUCHED)


def test_shapes_are_checked_where_the_lower_layers_state_them():
    """While tests run, by the packages that pyproject.toml names."""
    project = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    (option,) = re.findall(r"--jaxtyping-packages=(\S+)", project["tool"]["pytest"]["ini_options"]["addopts"])
    checked = option.split(",")
    stating = []
    for path in modules():
        place = path.relative_to(ROOT).with_suffix("")
        if place.parts[0] in ("batch", "backbone", "data", "losses", "prompts"):
            name = ".".join(("multiprompt", *place.parts)).removesuffix(".__init__")
            if re.search(r"^\s*from jaxtyping import", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
                stating.append(name)
    assert len(stating) >= 10
    assert [name for name in stating if not any(f"{name}.".startswith(f"{each}.") for each in checked)] == []


def test_every_file_of_the_package_is_shipped():
    """What is no Python module is in a wheel only if pyproject.toml says so."""
    project = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["multiprompt"]
    shipped = {path for pattern in patterns for path in ROOT.glob(pattern)}
    files = {path for path in ROOT.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    others = {path for path in files if path.suffix not in (".py", ".pyc")}
    assert len(others) > 40
    assert others <= shipped


def test_no_module_is_too_long_to_read():
    long = {p.name: n for p in modules() if (n := len(p.read_text(encoding="utf-8").splitlines())) > 480}
    assert not long


def test_light_parts_do_not_load_torch():
    imports = "; ".join(f"import multiprompt.{part}" for part in NO_TORCH)
    code = f"import sys, multiprompt; {imports}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_can_be_imported():
    assert len(multiprompt.__all__) > 20
    for name in multiprompt.__all__:
        assert getattr(multiprompt, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        multiprompt.nothing  # noqa: B018
