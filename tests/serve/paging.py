"""Pages as a browser without JavaScript gets them: asked for through WSGI, taken apart by the standard library's parser."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import time
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from werkzeug.test import Client, TestResponse

from ocibuild.serve.access import Access
from ocibuild.serve.app import App
from ocibuild.serve.limits import Limits
from ocibuild.serve.page.site import Site
from ocibuild.serve.proxy import Proxy
from ocibuild.serve.registry import Registry
from ocibuild.serve.upstream import Upstream

SAMPLES = Path(__file__).parents[2] / "samples"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
# HTML, "Void elements".
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
# HTML, "Optional tags": a p ends where one of these begins.
_ENDS_P = {"details", "div", "dl", "h1", "h2", "h3", "h4", "ol", "p", "pre", "section", "table", "ul", "nav", "article"}


class Element:
    """An element: its name, attributes, the text in it and the elements below it, in order."""

    def __init__(self, tag: str, attributes: Mapping[str, str | None], parent: Element | None) -> None:
        self.tag = tag
        self.attributes = dict(attributes)
        self.parent = parent
        self.children: list[Element] = []
        self.pieces: list[str] = []

    def __getitem__(self, name: str) -> str:
        return self.attributes[name] or ""

    @property
    def text(self) -> str:
        """All text in it, white space folded."""
        return " ".join("".join(self.pieces).split())

    def find(self, tag: str, **wanted: str) -> Iterator[Element]:
        """Elements below of that name, with these attributes; `class_` is one of the classes."""
        for child in self.children:
            named = tag in ("*", child.tag)
            classes = (child.attributes.get("class") or "").split()
            if named and all(
                value in classes if key == "class_" else child.attributes.get(key) == value
                for key, value in wanted.items()
            ):
                yield child
            yield from child.find(tag, **wanted)


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.here = Element("#document", {}, None)
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len(dict(attributes)) == len(attributes), f"an attribute stands twice in <{tag}>"
        assert not (self.here.tag == "p" and tag in _ENDS_P), f"<{tag}> in a <p>"
        made = Element(tag, dict(attributes), self.here)
        self.here.children.append(made)
        if (identity := made.attributes.get("id")) is not None:
            self.ids.append(identity)
        if tag not in _VOID:
            self.here = made

    def handle_endtag(self, tag: str) -> None:
        assert self.here.tag == tag, f"</{tag}> ends <{self.here.tag}>"
        assert self.here.parent is not None
        self.here = self.here.parent

    def handle_data(self, data: str) -> None:
        element: Element | None = self.here
        while element is not None:
            element.pieces.append(data)
            element = element.parent


def parsed(text: str) -> Element:
    """The document. Every tag must be closed where HTML wants it, and no id stand twice."""
    builder = _Builder()
    builder.feed(text)
    builder.close()
    assert builder.here is builder.root
    assert len(set(builder.ids)) == len(builder.ids), "an id stands twice"
    return builder.root


class Pages:
    """A registry with its pages, and a client that asks both."""

    def __init__(
        self, root: Path, access: Access | None = None, limits: Limits | None = None, upstream: Upstream | None = None
    ) -> None:
        root.mkdir(exist_ok=True)
        self.root = root
        self.registry = (
            Registry(root, clock=time.time, limits=limits, sparse=True)
            if upstream is None
            else Proxy(root, clock=time.time, limits=limits, upstream=upstream)
        )
        self.site = Site(self.registry, access)
        self.client = Client(App(self.registry, access, pages=self.site))

    def get(self, path: str, **headers: str) -> TestResponse:
        """The answer to a GET."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.get(path, base_url="http://localhost:5000", headers=named, buffered=True)

    def page(self, path: str, status: int = 200) -> Element:
        """The page, which must be HTML and have that status."""
        answer = self.get(path)
        assert answer.status_code == status, answer.text
        assert answer.content_type == "text/html; charset=utf-8"
        return parsed(answer.text)

    def blob(self, name: str, data: bytes) -> dict[str, Any]:
        """Push a blob, and give its digest and size as a descriptor has them."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        told = self.client.post(f"/v2/{name}/blobs/uploads/?digest={digest}", data=data)
        assert told.status_code == 201, told.text
        return {"digest": digest, "size": len(data)}

    def put(
        self, name: str, reference: str | None, document: dict[str, Any] | bytes, media_type: str = MANIFEST
    ) -> str:
        """Push a manifest, and give its digest."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        told = self.client.put(f"/v2/{name}/manifests/{reference or digest}", data=data, content_type=media_type)
        assert told.status_code == 201, told.text
        return digest

    def image(
        self,
        name: str,
        tag: str | None,
        layers: list[tuple[str, bytes]],
        config: dict[str, Any] | None = None,
        **members: Any,
    ) -> str:
        """Push an image of these layers (media type, bytes), and give its digest."""
        said = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}, **(config or {})}
        described = [{"mediaType": kind, **self.blob(name, data)} for kind, data in layers]
        top = {"mediaType": CONFIG, **self.blob(name, json.dumps(said).encode())}
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": top, "layers": described, **members}
        return self.put(name, tag, document)


def tarred(*entries: tuple[str, bytes], zipped: bool = False) -> bytes:
    """A tar of files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue(), mtime=0) if zipped else out.getvalue()
