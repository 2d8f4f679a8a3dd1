"""A Binary is seen by who sees the documents that name it, and found by them. https://hl7.org/fhir/R4/binary.html#security."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from fhir_dmp.access.decide import NO_RULE
from fhir_dmp.access.model import Action, Decision, Rule
from fhir_dmp.access.people import READS
from fhir_dmp.access.rules import authors_of
from fhir_dmp.call import Call, Env
from fhir_dmp.service.contents import TYPE, Documents
from fhir_dmp.service.named import reaches
from fhir_dmp.service.provenances import Judge
from fhir_dmp.store.query import Eq, In, Not, Row, both


def as_documents(row: Row, decision: Decision, judge: Judge, known: Documents) -> Decision:
    """Return the decision for a Binary: that for the documents of its author which name it, if there are any; its author has it anyhow.

    A Binary has no labels of its own, and is seen by who sees what it belongs to. Whoever knows its id can write that a document is of
    it, so those of others open nothing; what hides one of them hides it.
    """
    if decision.reasons == ("author",) or not (decision.permit or decision.reasons == (NO_RULE,)):
        return decision
    documents = known.of(row["_id"])
    own = [each for each in documents if not authors_of(row).isdisjoint(authors_of(each))]
    judged = [(each, judge.decide("read", each)) for each in own or documents]
    seen = [(each, found) for each, found in judged if found.permit]
    if not documents or not (own or decision.permit):
        return decision
    if not seen or (not own and len(seen) < len(judged)):
        return Decision(permit=False, reasons=("its documents are hidden",))
    document, found = seen[0]
    reasons = tuple(f"{document['_id']}: {reason}" for reason in found.reasons)
    return Decision(permit=True, reasons=reasons)


def not_listed(call: Call, action: Action, names: Collection[str], env: Env) -> Iterator[Rule]:
    """Yield the refusal to list contents that others than these wrote: they are judged one by one, as they are read."""
    if action not in READS or (call.id is not None and call.operation is None):
        return
    if call.type in (None, TYPE) or call.operation or call.compartment or reaches(call, env):
        where = both(Eq("ty", TYPE), Not(In("au", tuple(sorted(names)))))
        yield Rule(permit=False, where=where, reason="found by its document")
