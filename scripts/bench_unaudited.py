"""The server as it would be without evidence of reads: what the log costs is the difference. Only the benchmark can start it.

It is started as ``fhir-dmp serve`` is, on a database that another server keeps up: same environment, same web server, same workers.
"""

from __future__ import annotations

import argparse

from fhir_dmp.metrics import exposed
from fhir_dmp.serve import serve
from fhir_dmp.settings import Settings
from fhir_dmp.stores.mongo.store import MongoStore
from fhir_dmp.wsgi import Worker, create_front

COUNTED = "metrics-unaudited"
"""Where its workers count, in the data folder: the server's own count beside it."""


def create() -> Worker:
    """Return the application of a worker whose store forgets the events of what changes nothing."""
    MongoStore.record = lambda *_: None  # type: ignore[method-assign] # which no part of the server can be told to do
    return create_front()


def main() -> None:
    """Serve on the loopback until told to stop, by the settings of the environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("workers", type=int)
    options = parser.parse_args()
    settings = Settings.from_env()
    folder = settings.data_dir / COUNTED
    with exposed("127.0.0.1", 0, folder, lambda: ()):
        serve(
            settings,
            host="127.0.0.1",
            port=options.port,
            workers=options.workers,
            application="bench_unaudited:create",
            counted=folder,
        )


if __name__ == "__main__":
    main()
