"""What AssemblyScript and JavaScript share: package.json, and programs in node_modules. https://docs.npmjs.com."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocibuild.errors import InputError
from ocibuild.source.toolchains.bench import Bench, missing
from ocibuild.source.toolchains.recipe import Sources, Told

_LOCKS = {"pnpm-lock.yaml": "pnpm install", "yarn.lock": "yarn install", "package-lock.json": "npm ci"}
_TEXTS = (".ts", ".js", ".mjs", ".cjs", ".json", ".wit")
_ELSEWHERE = re.compile(r"""(?:\bfrom|\bimport|\brequire\s*\(|"extends"\s*:)\s*\(?\s*["']((?:\.\.?)?/[^"'\n]*)["']""")
_NODE = "install Node.js: https://nodejs.org, or your system's package (Debian: apt install nodejs npm)"


@dataclass(frozen=True)
class Package:
    """What package.json says; everything empty where there is none."""

    folder: Path
    document: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Package:
        """Raises InputError (`sources-invalid`)."""
        path = folder / "package.json"
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls(folder)
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path} cannot be read: {error}", code="sources-invalid") from error
        if not isinstance(document, dict):
            raise InputError(f"{path} is not an object", code="sources-invalid")
        return cls(folder, document)

    @property
    def name(self) -> str:
        """The package's name without its scope, or else the folder's."""
        said = self.text("name").rpartition("/")[2]
        return said if said.strip("._-") else self.folder.name

    def text(self, key: str) -> str:
        """A member that is text; empty where it is not."""
        value = self.document.get(key)
        return value if isinstance(value, str) else ""

    def needs(self, *names: str, develops: bool = True) -> bool:
        """True where it depends on one of these; with `develops`, for its development too."""
        return any(name in self.table(key) for key in _kinds(develops) for name in names)

    def table(self, key: str) -> Mapping[str, Any]:
        """A member that is an object; empty where it is not."""
        value = self.document.get(key)
        return value if isinstance(value, dict) else {}


def _kinds(develops: bool) -> tuple[str, ...]:
    return ("dependencies", "devDependencies") if develops else ("dependencies",)


def installed(package: Package, path: str) -> Path | None:
    """What stands in the nearest node_modules that has it."""
    folder = package.folder
    places = (place / "node_modules" / path for place in (folder, *folder.parents))
    return next((place for place in places if place.exists()), None)


def tool(package: Package, bench: Bench, brings: Mapping[str, str]) -> tuple[str, str]:
    """The first program there is of those named, and its path; `brings` has the npm package of each.

    Those whose packages the project itself names go first.

    Raises ToolError (`toolchain-missing`).
    """
    for name in sorted(brings, key=lambda name: not package.needs(brings[name])):
        found = installed(package, f".bin/{name}") or bench.find(name)
        if found is not None:
            bench.need("node", f"{name} runs on it", _NODE)
            return name, str(found)
    wanted = next((each for each in brings.values() if package.needs(each)), None)
    if wanted:
        lock = next((command for lock, command in _LOCKS.items() if (package.folder / lock).exists()), "npm install")
        raise missing(f"{wanted} is in {package.folder / 'package.json'}, and not installed", lock)
    first = next(iter(brings.values()))
    raise missing(
        f"there is no {' and no '.join(brings)} in node_modules or on PATH", f"npm install --save-dev {first}"
    )


def told(sources: Sources, package: Package, bench: Bench, brings: Mapping[str, str]) -> Told:
    """The folder with its node_modules, for a compiler that stands there too. Raises ToolError (`toolchain-missing`)."""
    name, program = tool(package, bench, brings)
    if not Path(program).resolve().is_relative_to(sources.folder):
        return Told(doubt=f"{name} is not in the project's own node_modules")
    for file in (one for one in sources.folder.rglob("*") if one.suffix in _TEXTS and one.is_file()):
        if "node_modules" in file.relative_to(sources.folder).parts:
            continue
        for path in _ELSEWHERE.findall(file.read_text(encoding="utf-8", errors="replace")):
            if not (file.parent / path).resolve().is_relative_to(sources.folder):
                return Told(doubt=f"{file.name} names {path}, which is elsewhere")
    version = bench.ask([bench.need("node", f"{name} runs on it", _NODE), "--version"], sources.folder)
    return Told((sources.folder,), (version,), (sources.folder / ".git",), ("NODE_", "ASC"))
