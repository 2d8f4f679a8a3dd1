"""A driver's connections, taken away from those who want one."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager


@contextmanager
def none_free(client):
    """Have all connections that the client may have be in use."""
    with ExitStack() as taken:
        for _ in range(client.options.pool_options.max_pool_size):
            taken.enter_context(client._conn_for_writes(None, "test"))
        yield
