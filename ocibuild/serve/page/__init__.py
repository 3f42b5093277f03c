"""The page of the registry: what it holds, for people. Rendered here, readable without JavaScript, of our own assets alone.

site       Site(registry, access)   the WSGI application for what is not below /v2/
shelves    Shelves   repositories and tags in short: sizes, counts, platforms; the state that tells a page is old
image      read(...)   one manifest or index as a tree, with its program, config, annotations and referrers
files      look(...)   a tar layer's entries, within bounds
program    what a Wasm module, a component or an ELF file says of itself
commands   how to pull and run it
shown      text that strangers wrote, made harmless and visible
"""
