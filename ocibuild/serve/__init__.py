"""The small registry: distribution-spec 1.1 over a folder of OCI layouts.

    registry  Registry(root, clock=)   what the requests do, without HTTP: names, tags, manifest, blob, referrers, begin,
                                       append, finish, mount, put, delete_manifest, delete_blob, collect; `.events`
    app       App(registry, access, pages=)   the WSGI application; `pages` is one for what is not below /v2/
    page      page.site.Site(registry, access)   the WSGI application for people: those `pages`
    browser   Browsers(app, is_local=)   keeps other sites' pages out
    server    Server(app, host=, port=, limits=, tls=)   cheroot within bounds: begin(), .port, end()
    access    Access(users=, tokens=, anonymous_pull=, read_only=)   who may do what
    events    Events: listening(call), stream()   pushes and deletions as they happen
    proxy     Proxy(root, upstream=, ...)   a Registry in front of another one, which keeps what was pulled through it
    upstream  Upstream   the seam for that other one; `ocibuild.api.upstream` is our client behind it
    coming, ages   blobs on their way from there; which of those that came nobody asked for the longest
    storage   Storage   the folder: repository(name), names()
    repository   Repository   one layout: current(), tags(), manifest(), blob(), document(), referrers(), nodes(); `.path`
                              is a layout that `ocibuild.store.layout.LayoutStore` reads
    view, uploads, document, naming, collect, limits, refusal, wire, workers   what those are made of

Faults and other wrappers stand between App and Server as any WSGI middleware does.
"""
