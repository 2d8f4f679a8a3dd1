"""What a path takes, told by the method OPTIONS. https://www.rfc-editor.org/rfc/rfc9110#section-9.3.7.

The methods are the routes' own, and ``http`` names them; here is the act, so that it is judged and leaves its event as any other.
"""

from __future__ import annotations

from fhir_dmp.call import Call, Context, Env, Grant, Result


def options(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return an answer without a body: nothing of a record is told."""
    del call, context, grant, env
    return Result("no-content")
