"""What an administrator does for records from the command line: notices that fall due, records whose time is over. By the one door."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta

from fhir_dmp.access.policy import decode
from fhir_dmp.call import Call, Context, Env, Result
from fhir_dmp.clock import micros_of
from fhir_dmp.errors import Conflict
from fhir_dmp.token_act import Announce, TokenAct

Door = Callable[[Call, Context], Result]
_NOTHING = b'{"resourceType":"Parameters"}'
_PAGE = 500
_NINE_YEARS = timedelta(days=9 * 365)


def write_notices(door: Door, context: Callable[[], Context]) -> Iterator[int]:
    """Write the notices that are due; yield how many, call by call, while there are more."""
    more = True
    while more:
        result = door(Call("operation", operation="due-notices", body=_NOTHING), context())
        told = {each["name"]: each for each in json.loads(result.body or b"{}")["parameter"]}
        yield int(told["written"]["valueInteger"])
        more = told["more"]["valueBoolean"]


def erase_closed(
    door: Door, announce: Announce, context: Callable[[], Context], env: Env
) -> Iterator[tuple[str, str | None]]:
    """Remove each record whose time is over; yield its name, and why it stays if it does (its day has not come).

    That records were looked through has an event of its own, whether one is due or none.
    """
    announce(TokenAct("record-erase"), context())
    before = micros_of(env.clock.now() - _NINE_YEARS)
    last = ""
    while rows := env.store.policies_after(last, _PAGE):
        for row in rows:
            closing = decode(row.body).closing
            if closing is not None and closing.closed is not None and closing.closed < before:
                try:
                    door(
                        Call("operation", "Patient", row.patient.partition("/")[2], operation="erase", body=_NOTHING),
                        context(),
                    )
                    yield row.patient, None
                except Conflict as early:
                    yield row.patient, str(early)
        last = rows[-1].patient
