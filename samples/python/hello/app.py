"""The Python twin of rust/hello-docker. A component can say that it failed, and not with which status."""

import sys

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import environment


class Run(exports.Run):
    def run(self) -> None:
        arguments = environment.get_arguments()[1:]
        print(dict(environment.get_environment()).get("GREETING", "Hello, Docker!"))
        if len(arguments) == 2 and arguments[0] == "--exit":
            if arguments[1] != "0":
                raise Err(None)
            return
        for argument in arguments:
            print(f"argument: {argument}")
        sys.stdout.flush()
