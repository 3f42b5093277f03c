"""Modules and components: what they import, export and say, and the same in wasm-tools' words."""

from __future__ import annotations

from pathlib import Path

import pytest
import wasm_yardstick

from ocibuild.binary.artifact import inspect, inspect_bytes
from ocibuild.binary.entity import Export, Import, MemoryLimits
from ocibuild.errors import InputError

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for path in (ROOT / "tests" / "vectors" / "wasm").glob("*.wasm") if path.stem != "object")
SAMPLES = sorted((ROOT / "samples").glob("*.wasm"))


@pytest.mark.parametrize("path", [*MODULES, *SAMPLES], ids=lambda path: path.stem)
def test_wasm_tools_says_the_same(path):
    facts = inspect(path).facts
    assert wasm_yardstick.compare(path, facts) == []
    assert facts.unread == ()


def test_a_command_for_preview_1(wasm_vector):
    facts = inspect(wasm_vector("command")).facts
    assert (facts.kind, facts.wasi, facts.role) == ("module", "preview1", "command")
    assert facts.imports[0] == Import("wasi_snapshot_preview1", "fd_write", "func")
    assert facts.exports == (Export("memory", "memory"), Export("_start", "func"))
    assert facts.memories == (MemoryLimits(2, 16),)
    assert facts.world_imports == ()


@pytest.mark.parametrize(
    "name, wasi, role",
    [
        ("unstable", "unstable", "command"),
        ("reactor", "preview1", "reactor"),
        ("proxy-wasm", "none", "proxy-wasm"),
        ("linked", "none", "library"),
        ("component-command", "0.2.3", "command"),
        ("component-http", "0.2.0", "http"),
        ("component-http-3", "0.3.0-rc-2025-09-16", "http"),
        ("wit-package", "none", "library"),
    ],
)
def test_levels_and_roles(wasm_vector, name, wasi, role):
    facts = inspect(wasm_vector(name)).facts
    assert (facts.wasi, facts.role) == (wasi, role)


def test_a_component_names_its_interfaces_with_versions_in_order(wasm_vector):
    facts = inspect(wasm_vector("component-command")).facts
    assert facts.world_imports == ("wasi:io/streams@0.2.3", "wasi:cli/environment@0.2.0", "log")
    assert facts.world_exports == ("wasi:cli/run@0.2.3",)
    assert [entry.kind for entry in facts.imports] == ["instance", "instance", "func"]


def test_a_component_shows_the_modules_inside(wasm_vector):
    facts = inspect(wasm_vector("component-command")).facts
    assert facts.modules[0].kind == "module"
    assert facts.modules[0].metadata.produced("language") == (("Rust", "1.80"),)
    assert facts.memories == (MemoryLimits(17, None),)


def test_every_kind_a_component_imports(wasm_vector):
    facts = inspect(wasm_vector("component-http")).facts
    assert [entry.kind for entry in facts.imports] == ["instance", "instance", "type", "module", "component"]


def test_what_a_file_says_of_itself(wasm_vector):
    metadata = inspect(wasm_vector("described")).facts.metadata
    # The words that tests/vectors/wasm/make gave to wasm-tools.
    assert metadata.name == "greeter"
    assert metadata.version == "1.2.3"
    assert metadata.description == "Greets; naïvely"
    assert metadata.licenses == "Apache-2.0 OR MIT"
    assert metadata.source == "https://example.org/greeter.git"
    assert metadata.revision == "0123456789abcdef0123456789abcdef01234567"
    assert metadata.authors == "Ada <ada@example.org>"
    assert metadata.produced("sdk") == (("wasi-sdk", "24"),)
    assert metadata.produced("absent") == ()


def test_features_that_headers_prove(wasm_vector):
    features = inspect(wasm_vector("features")).facts.features
    assert set(features) == {
        "exceptions", "function-references", "gc", "memory64", "multi-memory", "multi-value", "reference-types",
        "simd", "threads",
    }  # fmt: skip


def test_proposals_on_their_way_are_read_too(wasm_vector):
    facts = inspect(wasm_vector("proposals")).facts
    assert {"custom-descriptors", "custom-page-sizes", "stack-switching"} < set(facts.features)
    assert facts.memories == (MemoryLimits(10, 20, page_size=1),)
    assert facts.imports[-1] == Import("env", "wide", "table")


def test_a_shortened_version_is_made_whole(wasm_vector):
    facts = inspect(wasm_vector("component-names")).facts
    assert facts.world_imports == ("a:b/c@0.1.3", "primary", "bound")
    assert facts.exports == (Export("module", "module"), Export("a:b/c@1.2.3", "instance"))


def test_a_plain_module_proves_no_feature(wasm_vector):
    assert inspect(wasm_vector("linked")).facts.features == ()
    assert "sign-ext" in inspect(wasm_vector("linked")).facts.target_features


def test_limits_of_shared_and_64_bit_memories(wasm_vector):
    memories = inspect(wasm_vector("features")).facts.memories
    assert memories == (MemoryLimits(1, 4, shared=True), MemoryLimits(1, 65536, is_64=True))


def test_asynchronous_components_are_told_by_the_names_inside(wasm_vector):
    facts = inspect(wasm_vector("component-http-3")).facts
    assert facts.features == ("component-model-async",)


def test_compact_imports_are_read(wasm_vector):
    facts = inspect(wasm_vector("compact-imports")).facts
    assert [(entry.name, entry.kind) for entry in facts.imports] == [
        ("read", "func"), ("memory", "memory"), ("width", "global"), ("height", "global"),
    ]  # fmt: skip
    assert facts.memories == (MemoryLimits(3, None),)


def test_a_world_inside_a_module_is_named(wasm_vector):
    facts = inspect(wasm_vector("embedded")).facts
    assert facts.kind == "module"
    assert facts.embedded_worlds == ("greeter",)


def test_wit_in_binary_form_is_told_from_a_component(wasm_vector):
    assert inspect(wasm_vector("wit-package")).facts.is_wit_package
    assert not inspect(wasm_vector("component-command")).facts.is_wit_package


def test_an_object_file_is_refused_with_its_cure(wasm_vector):
    with pytest.raises(InputError) as caught:
        inspect(wasm_vector("object"))
    assert caught.value.code == "wasm-object"
    assert "link" in (caught.value.hint or "")


# --- what came later ----------------------------------------------------------------------------------------------


def module(*sections: tuple[int, bytes]) -> bytes:
    return b"\0asm\x01\0\0\0" + b"".join(bytes([code, len(body)]) + body for code, body in sections)


@pytest.mark.parametrize(
    "header, words",
    [
        ("02 00 00 00", "core module, version 2"),
        ("0a 00 01 00", "component, version 10"),
        ("01 00 01 00", "component, version 1"),
        ("01 00 02 00", "unknown layer, version 1, layer 2"),
    ],
)
def test_versions_and_layers_of_other_days_are_named(header, words):
    with pytest.raises(InputError, match=words) as caught:
        inspect_bytes(b"\0asm" + bytes.fromhex(header), "a.wasm")
    assert caught.value.code == "wasm-version-unknown"


def test_an_unknown_section_is_walked_over_and_noted():
    facts = inspect_bytes(module((14, b"anything"), (7, b"\x01\x01f\x00\x00")), "a.wasm").facts
    assert facts.exports == (Export("f", "func"),)
    assert facts.unread == ("section 14",)


@pytest.mark.parametrize(
    "code, body, note",
    [
        (2, b"\x01\x01a\x01b\x09\x00", "import kind 0x9"),
        (2, b"\x01\x01a\x01b\x03\x11\x00", "value type 0x11"),
        (2, b"\x01\x01a\x01b\x02\x40\x01", "memory flags 0x40"),
        (5, b"\x01\x40\x01", "memory flags 0x40"),
    ],
)
def test_an_unknown_kind_ends_its_section_and_not_the_reading(code, body, note):
    facts = inspect_bytes(module((code, body), (7, b"\x01\x01f\x00\x00")), "a.wasm").facts
    assert facts.exports == (Export("f", "func"),)
    assert len(facts.unread) == 1
    assert note in facts.unread[0]


@pytest.mark.parametrize(
    "code, body, note",
    [
        (10, b"\x01\x07\x01a\x01\x00", "name form 0x7"),
        (10, b"\x01\x00\x01a\x06\x00", "import kind 0x6"),
        (10, b"\x01\x00\x01a\x03\x02\x00", "bound 0x2"),
        (11, b"\x01\x00\x01a\x01\x00\x02", "export ascription 0x2"),
    ],
)
def test_an_unknown_kind_in_a_component_ends_its_section(code, body, note):
    data = b"\0asm\x0d\0\x01\0" + b"".join(
        bytes([number, len(content)]) + content
        for number, content in ((code, body), (11, b"\x01\x00\x01f\x01\x00\x01\x01\x00"))
    )
    facts = inspect_bytes(data, "a.wasm").facts
    assert facts.exports[-1] == Export("f", "func")
    assert note in facts.unread[0]


def test_an_unknown_type_is_no_matter():
    facts = inspect_bytes(module((1, b"\x02\x11\x00\x5f\x00")), "a.wasm").facts
    assert (facts.features, facts.unread) == ((), ())


def test_a_damaged_custom_section_is_ignored_and_noted():
    facts = inspect_bytes(module((0, b"\x09producers\xff\xff\xff\xff\x0f")), "a.wasm").facts
    assert facts.metadata.producers == ()
    assert "producers" in facts.unread[0]


def test_a_nested_module_of_an_unknown_version_is_noted():
    component = b"\0asm\x0d\0\x01\0" + b"\x01\x08\0asm\x02\0\0\0"
    facts = inspect_bytes(component, "a.wasm").facts
    assert facts.modules == ()
    assert "version 2" in facts.unread[0]
