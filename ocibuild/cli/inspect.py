"""`ocibuild inspect FILE|PLACE`"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from ocibuild.api.inspecting import inspect, is_program
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option, registry_options, session
from ocibuild.cli.copy import host_of
from ocibuild.cli.verbs import verb

_SHOWN = 40


@verb("inspect")
@click.argument("what", metavar="FILE|PLACE")
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="The entry of an index to look at.")
@click.option(
    "--contents/--no-contents", default=None, help="Read layers for their files.  [default: up to 64 MiB of them]"
)
@registry_options
@json_option
def inspect_command(
    what: str, platform: str | None, contents: bool | None, as_json: bool, quiet: bool, **reach: Any
) -> None:
    """Say what a program file is, or what the image at a place is made of."""
    host = None if is_program(what) else host_of(what)
    with session(host, quiet=quiet, **reach) as current:
        document = inspect(what, platform=platform, contents=contents, session=current)
    if as_json:
        show.result_json(document)
        return
    for line in _account(document):
        show.result(show.plain(line))


def _account(document: dict[str, Any]) -> Iterator[str]:
    match document["kind"]:
        case "file":
            yield f"{document['path']}  {show.size(document['size'])}  {document['digest']}"
            yield from _program(document["program"])
        case "layout":
            yield f"{document['place']}  {len(document['images'])} images"
            for image in document["images"]:
                yield f"  {image['name'] or '-'}  {image['digest']}  {image['mediaType']}"
        case _:
            yield document["place"]
            yield from _image(document)


def _image(document: dict[str, Any]) -> Iterator[str]:
    yield _line("digest", document["digest"])
    yield _line("type", document["mediaType"])
    yield from _table("annotation", document["annotations"])
    if document["kind"] == "index":
        for entry in document["images"]:
            yield ""
            yield f"{entry['platform'] or 'no platform'}"
            yield from (f"  {line}" for line in _image(entry))
        return
    yield _line("format", document["format"])
    if document["consumers"]:
        yield _line("for", document["consumers"])
    for key in ("platform", "created", "author", "user", "workingDir", "stopSignal"):
        if document.get(key):
            yield _line(key, document[key])
    for key in ("entrypoint", "cmd"):
        if document.get(key):
            yield _line(key, " ".join(document[key]))
    for key in ("env", "exposedPorts", "volumes"):
        for value in document.get(key, ()):
            yield _line(key, value)
    yield from _table("label", document.get("labels", {}))
    yield _line("config", f"{document['config']['digest']}  {document['config']['mediaType']}")
    for layer in document["layers"]:
        yield from _layer(layer)
    yield _line("size", show.size(document["totalSize"]))
    if not document["contentsRead"]:
        yield _line("contents", "not read; --contents reads them")
    if document["program"] and "problem" not in document["program"]:
        yield _line("program", f"{document['program']['name']}  {document['program']['digest']}")
        yield from _program(document["program"])
    elif document["program"]:
        yield _line("program", document["program"]["problem"])


def _layer(layer: dict[str, Any]) -> Iterator[str]:
    yield _line("layer", f"{layer['digest']}  {show.size(layer['size'])}  {layer['mediaType']}")
    files = layer.get("files", [])
    for entry in files[:_SHOWN]:
        owner = f"{entry['uid']}:{entry['gid']}"
        target = f" -> {entry['target']}" if "target" in entry else ""
        slash = "/" if entry["kind"] == "dir" and entry["path"] != "/" else ""
        yield f"  {entry['mode']} {owner:>11} {show.size(entry['size']):>10}  {entry['path']}{slash}{target}"
    if len(files) > _SHOWN:
        yield f"  and {len(files) - _SHOWN} more (--json lists all)"


def _program(program: dict[str, Any]) -> Iterator[str]:
    if program["type"] == "elf":
        yield from _elf(program)
        return
    kind = {"module": "core module", "component": "component"}[program["type"]]
    yield _line("kind", f"{kind}, {program['role']}, WASI {program['wasi']}")
    for group in program["imports"]:
        names = f": {', '.join(group['names'])}" if group["names"] else ""
        yield _line("imports", f"{group['interface']}{names}")
    if program["exports"]:
        shown = ", ".join(export["name"] for export in program["exports"][:_SHOWN])
        yield _line("exports", shown + (", …" if len(program["exports"]) > _SHOWN else ""))
    for memory in program["memories"]:
        most = "no limit" if memory["maximum"] is None else f"at most {memory['maximum']}"
        yield _line("memory", f"{memory['initial']} pages of {memory['pageSize']} bytes, {most}")
    for key in ("features", "targetFeatures", "embeddedWorlds", "unread"):
        if program[key]:
            yield _line(key, ", ".join(program[key]))
    for key, value in program["metadata"].items():
        if key != "producers":
            yield _line(key, value)
    for field, tools in program["metadata"]["producers"].items():
        yield _line(field, ", ".join(f"{tool['name']} {tool['version']}".strip() for tool in tools))


def _elf(program: dict[str, Any]) -> Iterator[str]:
    linking = "static" if program["static"] else "dynamic"
    linking += "-pie" if program["staticPie"] else ""
    stripped = "stripped" if program["stripped"] else "not stripped"
    yield _line("kind", f"ELF, {program['bits']}-bit {program['machine']}, {linking}, {stripped}")
    yield _line("runs on", program["platform"])
    if program["interpreter"]:
        yield _line("loader", program["interpreter"])
    if program["needed"]:
        yield _line("libraries", ", ".join(program["needed"]))
    if program["go"]:
        go = program["go"]
        yield _line("go", " ".join(filter(None, (go["version"], go["module"] or go["path"], go["moduleVersion"]))))
        for key, value in go["settings"].items():
            yield _line("", f"{key}={value}")
    for comment in program["comments"]:
        yield _line("built by", comment)


def _table(name: str, values: dict[str, str]) -> Iterator[str]:
    for key, value in values.items():
        yield _line(name, f"{key}={value}")


def _line(name: str, value: str) -> str:
    return f"{name:<14}  {value}"
