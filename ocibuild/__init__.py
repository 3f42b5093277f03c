"""ocibuild: OCI images from Wasm modules and static binaries, without a daemon.

The verbs of the command line are functions here, and print nothing:

    import ocibuild

    packed = ocibuild.pack("hello.wasm", tags=["localhost:5000/hello:1"], push=True)
    packed.digest

Names are loaded when they are first used, so `import ocibuild` costs next to nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ocibuild.api.attaching import Attached, attach, referrers
    from ocibuild.api.bake import Baked, bake
    from ocibuild.api.build import build
    from ocibuild.api.check import Finding, check
    from ocibuild.api.convert import convert
    from ocibuild.api.diff import Difference, diff
    from ocibuild.api.explain import explain
    from ocibuild.api.extract import Extracted, extract
    from ocibuild.api.init import Begun, init
    from ocibuild.api.inspecting import inspect
    from ocibuild.api.joining import join
    from ocibuild.api.kube import kube
    from ocibuild.api.listing import repositories, tags
    from ocibuild.api.login import LoggedIn, LoggedOut, login, logins, logout
    from ocibuild.api.pack import Packed, pack
    from ocibuild.api.pull import pull
    from ocibuild.api.raw import blob, config, digest, manifest
    from ocibuild.api.removing import Removed, remove
    from ocibuild.api.resolve import resolve
    from ocibuild.api.run import run
    from ocibuild.api.session import Session
    from ocibuild.api.tagging import Tagged, tag
    from ocibuild.api.transfer import Transferred, copy, push
    from ocibuild.api.tree import tree
    from ocibuild.binary.artifact import Artifact
    from ocibuild.errors import (
        AuthorizationError,
        Cancelled,
        ContentError,
        FindingsError,
        InputError,
        NetworkError,
        NotFoundError,
        OcibuildError,
        RegistryError,
        StoreError,
        ToolError,
        UsageError,
    )
    from ocibuild.pack.options import Options
    from ocibuild.registry.credentials import Credential
    from ocibuild.spec.descriptor import Descriptor
    from ocibuild.spec.digest import Digest
    from ocibuild.spec.platform import Platform
    from ocibuild.spec.reference import Reference

__version__ = "0.1.0"

__all__ = [
    "Artifact",
    "Attached",
    "AuthorizationError",
    "Baked",
    "Begun",
    "Cancelled",
    "ContentError",
    "Credential",
    "Descriptor",
    "Difference",
    "Digest",
    "Extracted",
    "Finding",
    "FindingsError",
    "InputError",
    "LoggedIn",
    "LoggedOut",
    "NetworkError",
    "NotFoundError",
    "OcibuildError",
    "Options",
    "Packed",
    "Platform",
    "Reference",
    "RegistryError",
    "Removed",
    "Session",
    "StoreError",
    "Tagged",
    "ToolError",
    "Transferred",
    "UsageError",
    "attach",
    "bake",
    "blob",
    "build",
    "check",
    "config",
    "convert",
    "copy",
    "diff",
    "digest",
    "explain",
    "extract",
    "init",
    "inspect",
    "join",
    "kube",
    "login",
    "logins",
    "logout",
    "manifest",
    "pack",
    "pull",
    "push",
    "referrers",
    "remove",
    "repositories",
    "resolve",
    "run",
    "tag",
    "tags",
    "tree",
]

_HOMES = {
    "Artifact": "binary.artifact",
    "Attached": "api.attaching",
    "Baked": "api.bake",
    "Begun": "api.init",
    "Credential": "registry.credentials",
    "Descriptor": "spec.descriptor",
    "Difference": "api.diff",
    "Digest": "spec.digest",
    "Extracted": "api.extract",
    "Finding": "api.check",
    "LoggedIn": "api.login",
    "LoggedOut": "api.login",
    "Options": "pack.options",
    "Packed": "api.pack",
    "Platform": "spec.platform",
    "Reference": "spec.reference",
    "Removed": "api.removing",
    "Session": "api.session",
    "Tagged": "api.tagging",
    "Transferred": "api.transfer",
    "attach": "api.attaching",
    "bake": "api.bake",
    "blob": "api.raw",
    "build": "api.build",
    "check": "api.check",
    "config": "api.raw",
    "convert": "api.convert",
    "copy": "api.transfer",
    "diff": "api.diff",
    "digest": "api.raw",
    "explain": "api.explain",
    "extract": "api.extract",
    "init": "api.init",
    "inspect": "api.inspecting",
    "join": "api.joining",
    "kube": "api.kube",
    "login": "api.login",
    "logins": "api.login",
    "logout": "api.login",
    "manifest": "api.raw",
    "pack": "api.pack",
    "pull": "api.pull",
    "push": "api.transfer",
    "referrers": "api.attaching",
    "remove": "api.removing",
    "repositories": "api.listing",
    "resolve": "api.resolve",
    "run": "api.run",
    "tag": "api.tagging",
    "tags": "api.listing",
    "tree": "api.tree",
}


class _Front(ModuleType):
    """The package as a person sees it: `ocibuild.pack` is the verb, always.

    There is a room of that name as well, and Python would bind it over the verb as soon as anything is imported from
    it; `from ocibuild.pack import options` finds it all the same.
    """

    def __getattr__(self, name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'ocibuild' has no attribute {name!r}", name=name, obj=self)
        from importlib import import_module

        value = getattr(import_module(f"ocibuild.{_HOMES.get(name, 'errors')}"), name)
        super().__setattr__(name, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Front
