#!/bin/sh
# One tag for several platforms, from any machine with Python: no daemon, no Dockerfile, no base image.
#
#   publish.sh REFERENCE FILE...
#   publish.sh ghcr.io/me/hello:1 dist/hello.wasm dist/hello-linux-amd64 dist/hello-linux-arm64
#
# Prints the digest reference of what was pushed, alone on stdout. Log in before: ocibuild login REGISTRY.
set -eu
if [ $# -lt 2 ]; then
    echo "usage: publish.sh REFERENCE FILE..." >&2
    exit 2
fi
reference=$1
shift
# The commit's time, and not today's: the same commit gives the same digest whenever it is built.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
image=$(ocibuild pack --git -o "$folder/image.oci" "$@")
ocibuild check --json "$image" >&2
ocibuild push "$image" "$reference"
