"""Tasks that do nothing: what handing out work costs by itself. Each with its start, as a bake has one.

empties.py threads COUNT              bake's engine on threads
empties.py dask COUNT dask://…        bake's engine on the workers of a scheduler
empties.py alone COUNT dask://…       Dask's own map, without an engine
empties.py warm dask://… WORKERS      wait for so many workers, and have each load what a target needs
"""

from __future__ import annotations

import sys
import time

from ocibuild.bake import crews, engine
from ocibuild.bake.job import Job


def nothing(task: object) -> object:
    """What a worker does."""
    return task


def load(task: object) -> object:
    """What a worker's first target would load."""
    import ocibuild.api.away
    import ocibuild.api.session
    import ocibuild.registry.clients
    import ocibuild.registry.store
    import ocibuild.store.copy  # noqa: F401

    time.sleep(0.2)  # so that one worker does not do all of it
    return task


def engined(crew: engine.Crew, count: int) -> None:
    """So many jobs by the engine."""
    ended = engine.run([Job(str(number)) for number in range(count)], crew, nothing, lambda job, ended: job.name)
    assert all(one.state == "made" for one in ended.values())


def main(verb: str, *words: str) -> None:
    if verb == "threads":
        with crews.threads(None, waiting=True) as crew:
            engined(crew, int(words[0]))
    elif verb == "dask":
        with crews.dask(words[1]) as cluster:
            engined(cluster, int(words[0]))
    else:
        from distributed import Client

        place = words[1] if verb == "alone" else words[0]
        with Client(place.replace("dask://", "tcp://"), set_as_default=False) as client:
            if verb == "alone":
                names = [str(number) for number in range(int(words[0]))]
                assert client.gather(client.map(nothing, names, pure=False)) == names
            else:
                client.wait_for_workers(int(words[1]), timeout=60)
                client.run(load, None)


if __name__ == "__main__":
    main(*sys.argv[1:])
