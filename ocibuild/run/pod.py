"""A Kubernetes workload that runs one image: Pod, Job or Deployment, and the RuntimeClass that starts Wasm.

https://kubernetes.io/docs/reference/kubernetes-api/, https://kubernetes.io/docs/concepts/containers/runtime-class/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ocibuild.errors import UsageError

Kind = Literal["Pod", "Job", "Deployment"]
KINDS: tuple[Kind, ...] = ("Pod", "Job", "Deployment")
_API = {"Pod": "v1", "Job": "batch/v1", "Deployment": "apps/v1"}
_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_CPU = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,3})?|[0-9]{1,12}m")
_LONGEST = 63
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./@-]*(?::[A-Za-z0-9_./@-]+)*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


@dataclass(frozen=True)
class RuntimeClass:
    """Its name, and the handler that the node's containerd or CRI-O knows."""

    name: str
    handler: str

    def document(self) -> dict[str, Any]:
        """node.k8s.io/v1."""
        return {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": self.name},
            "handler": self.handler,
        }


@dataclass(frozen=True)
class Workload:
    """One container and what is around it. `command` and `args` are empty where the image's own are meant.

    serves   it answers requests and does not end by itself; memory in bytes, cpu as Kubernetes writes it
    """

    name: str
    image: str
    kind: Kind = "Pod"
    namespace: str | None = None
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[tuple[int, str], ...] = ()
    memory: int | None = None
    cpu: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    nodes: Mapping[str, str] = field(default_factory=dict)
    runtime: str | None = None
    serves: bool = False

    def document(self) -> dict[str, Any]:
        """The object, members in the order that people write them."""
        labels = {"app.kubernetes.io/name": self.name}
        metadata = {"name": self.name, **_said(namespace=self.namespace), "labels": labels}
        within = {"labels": labels, **_said(annotations=dict(self.annotations))}
        restart = {"Deployment": "Always", "Job": "Never", "Pod": "Always" if self.serves else "Never"}[self.kind]
        pod = {
            **_said(runtimeClassName=self.runtime),
            "restartPolicy": restart,
            **_said(nodeSelector=dict(self.nodes)),
            "containers": [self._container()],
        }
        document: dict[str, Any] = {"apiVersion": _API[self.kind], "kind": self.kind, "metadata": metadata}
        if self.kind == "Pod":
            document["metadata"] |= _said(annotations=dict(self.annotations))
            return {**document, "spec": pod}
        selector = {"selector": {"matchLabels": labels}} if self.kind == "Deployment" else {}
        return {**document, "spec": {**selector, "template": {"metadata": within, "spec": pod}}}

    def _container(self) -> dict[str, Any]:
        limits = _said(memory=_bytes(self.memory), cpu=self.cpu)
        return {
            "name": self.name,
            "image": self.image,
            **_said(
                command=list(self.command),
                args=list(self.args),
                env=[{"name": key, "value": value} for key, value in self.env.items()],
                ports=[{"containerPort": port, "protocol": protocol} for port, protocol in self.ports],
                resources={"limits": limits} if limits else None,
            ),
        }


def label(text: str) -> str:
    """A DNS label (RFC 1123) out of any name: `my_app.v2` is `my-app-v2`."""
    words = "-".join(re.findall(r"[a-z0-9]+", text.lower()))[:_LONGEST].strip("-")
    return words or "app"


def checked_label(text: str, flag: str) -> str:
    """A name as it was given. Raises UsageError (`name-invalid`) where Kubernetes would refuse it."""
    if not _LABEL.fullmatch(text):
        raise _invalid(text, flag, f"write {label(text)}")
    return text


def checked_subdomain(text: str, flag: str) -> str:
    """The name of a RuntimeClass, which may have dots. Raises UsageError (`name-invalid`)."""
    if len(text) > 253 or not _SUBDOMAIN.fullmatch(text):
        raise _invalid(text, flag, "as in wasmtime")
    return text


def checked_cpu(text: str | None) -> str | None:
    """Processors: `2`, `0.5`, `250m`. Raises UsageError (`quantity-invalid`)."""
    if text is not None and not _CPU.fullmatch(text):
        raise UsageError(f"--cpu {text!r} is no quantity", code="quantity-invalid", hint="as in 500m, 0.5 or 2")
    return text


def _invalid(text: str, flag: str, hint: str) -> UsageError:
    why = "lower-case letters, digits and dashes between them"
    return UsageError(f"{flag} {text!r} is no name that Kubernetes takes: {why}", code="name-invalid", hint=hint)


def _said(**members: Any) -> dict[str, Any]:
    return {key: value for key, value in members.items() if value}


def _bytes(size: int | None) -> str | None:
    if size is None:
        return None
    return f"{size >> 20}Mi" if size % (1 << 20) == 0 else str(size)


def yaml_of(documents: Sequence[Mapping[str, Any]]) -> str:
    """Several objects as one stream. What another reader might take for a number or a truth value is quoted."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, False)

    def string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        plain = _PLAIN.fullmatch(text) is not None and text.lower() not in _WORDS
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')

    Dumper.add_representer(str, string)
    return yaml.dump_all(
        documents, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1 << 20, explicit_start=len(documents) > 1
    )
