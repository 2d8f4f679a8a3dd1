"""Runs functions as fibres, for tests without a server."""

from __future__ import annotations

import asyncio

from fhir_dmp.fibres import Fibre


def run(*calls, on=asyncio.run):
    """Run the functions as fibres of one loop, which ``on`` makes, and return what each returned or raised, in their order."""

    async def together():
        loop = asyncio.get_running_loop()
        ends = [loop.create_future() for _ in calls]

        def fibre(call, end):
            def do():
                try:
                    end.set_result(call())
                except Exception as fault:
                    end.set_exception(fault)

            return Fibre(do, loop)

        for call, end in zip(calls, ends, strict=True):
            fibre(call, end).switch()
        return await asyncio.wait_for(asyncio.gather(*ends, return_exceptions=True), 10)

    return on(together())
