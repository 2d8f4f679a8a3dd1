"""What the tables hold: types, search parameters and compartments as frozen values.

``scripts/build_definitions.py`` writes them, ``definitions.loader`` reads them, and everything that parses,
validates, indexes, searches or describes the server is driven by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

Systems = tuple[tuple[str, frozenset[str] | None], ...]
"""The code systems that an element is bound to, each with those of its codes that are allowed; None stands for any."""

SearchType = Literal["number", "date", "string", "token", "reference", "composite", "quantity", "uri", "special"]


class Step(Struct, frozen=True):
    """One step into the JSON of a resource.

    ``name`` is a JSON property: a choice is already resolved (``valueQuantity``). ``where`` keeps the items whose
    property equals the value, as in ``telecom.where(system='phone')``. ``resolves_to`` keeps references to that
    resource type, as in ``where(resolve() is Patient)``. ``index`` keeps the item at that place.
    """

    name: str
    where: tuple[str, str] | None = None
    resolves_to: str | None = None
    index: int | None = None


class Path(Struct, frozen=True):
    """One alternative of an expression: the steps from the resource (or the composite's root) to the values.

    ``type`` is the FHIR datatype of what is found there (``CodeableConcept``, ``dateTime``, ``Reference``, ``id``...).
    ``present_is_true`` stands for ``x.exists() and x != false``: a boolean counts as itself, anything else as true. ``systems`` are those
    that the binding of a ``code`` implies.
    """

    steps: tuple[Step, ...]
    type: str
    present_is_true: bool = False
    systems: Systems = ()

    def __repr__(self) -> str:
        """Say what values are found by: their systems tell nothing of that, and stay as they are when a binding changes."""
        return f"Path(steps={self.steps!r}, type={self.type!r}, present_is_true={self.present_is_true!r})"


class Component(Struct, frozen=True):
    """One part of a composite parameter; ``paths`` start at an item of the composite's own paths."""

    code: str
    type: SearchType
    paths: tuple[Path, ...]


class SearchParam(Struct, frozen=True):
    """A search parameter as it applies to one resource type. https://hl7.org/fhir/R4/searchparameter.html.

    A composite has ``components``, each read from every item that ``paths`` find. ``targets`` are the resource
    types a reference may point at. ``url`` is the canonical of the SearchParameter. One that was ``added`` to those of R4 is kept under its
    own name, and asked for only once everything is indexed by it.
    """

    code: str
    type: SearchType
    url: str
    paths: tuple[Path, ...]
    targets: tuple[str, ...] = ()
    components: tuple[Component, ...] = ()
    added: bool = False

    @property
    def pointed_at(self) -> tuple[str, ...]:
        """The types that its references can really point at: fewer than ``targets`` where its paths keep those to one type alone."""
        kept = [path.steps[-1].resolves_to if path.steps else None for path in self.paths]
        return tuple(dict.fromkeys(each for each in kept if each)) if kept and all(kept) else self.targets


class Compartment(Struct, frozen=True):
    """A compartment: for each resource type the codes of the reference parameters that make it a member.

    https://hl7.org/fhir/R4/compartmentdefinition.html. The code ``{def}`` of the definitions (the resource itself) is kept.
    """

    code: str
    members: Mapping[str, tuple[str, ...]]


class Unsupported(Struct, frozen=True):
    """A search parameter that the tables name and the server does not index, with the reason."""

    type: str
    code: str
    reason: str


class ElementDef(Struct, frozen=True):
    """One element of a type, as JSON shows it. https://hl7.org/fhir/R4/elementdefinition.html.

    ``name`` is the JSON property; the alternatives of a choice are elements of their own that share ``choice``
    (``value[x]``). ``type`` is a primitive (``code``), a complex type (``Period``), a backbone
    (``Patient.contact``), or ``Resource``. ``maximum`` is None for ``*``. ``codes`` are those of a required
    binding that stands in the tables, ``systems`` those of any binding of a ``code``, ``targets`` the types a Reference may
    point at (empty: any).
    """

    name: str
    type: str
    minimum: int
    maximum: int | None
    array: bool
    choice: str | None = None
    codes: frozenset[str] | None = None
    targets: tuple[str, ...] = ()
    summary: bool = False
    systems: Systems = ()


class Invariant(Struct, frozen=True):
    """A rule on a type that must hold: its key (``obs-6``), its words, its FHIRPath. https://hl7.org/fhir/R4/conformance-rules.html#constraints."""

    key: str
    human: str
    expression: str


class TypeDef(Struct, frozen=True):
    """A resource, complex type or backbone element, its elements by JSON property and its invariants."""

    name: str
    kind: Literal["resource", "complex-type", "backbone"]
    elements: Mapping[str, ElementDef] = field(default_factory=dict)
    invariants: tuple[Invariant, ...] = ()


class ParameterDef(Struct, frozen=True):
    """A parameter of an operation. ``type`` is empty for one that consists of ``parts``; ``maximum`` is None for ``*``."""

    name: str
    use: Literal["in", "out"]
    type: str
    minimum: int
    maximum: int | None
    parts: tuple[ParameterDef, ...] = ()


class OperationDef(Struct, frozen=True):
    """An operation: where and for which types it is called, and what it takes. https://hl7.org/fhir/R4/operationdefinition.html.

    ``types`` may hold ``Resource``, which stands for every type but ``AuditEvent``. ``affects_state`` says that it changes something,
    and so is never called by GET.
    """

    code: str
    url: str
    levels: frozenset[Literal["system", "type", "instance"]]
    types: tuple[str, ...]
    affects_state: bool
    parameters: tuple[ParameterDef, ...] = ()

    def is_for(self, resource_type: str) -> bool:
        """Tell whether the operation is one of that type."""
        return resource_type in self.types or ("Resource" in self.types and resource_type != "AuditEvent")


class Rights(Struct, frozen=True):
    """The categories (TRE_A03-ClasseDocument) that one profession or kind of system may read and write."""

    read: tuple[str, ...]
    write: tuple[str, ...]


class Matrix(Struct, frozen=True):
    """Who may touch which category; what is not there is refused.

    ``professions`` are by code of TRE_G15-ProfessionSante, ``systems`` by role. ``explicit`` are specialties (TRE_R01) and structures
    (``system|value``) whose professionals enter by an explicit Consent alone, and whether an emergency opens records to them too.
    """

    version: str
    professions: Mapping[str, Rights]
    systems: Mapping[str, Rights]
    explicit: Mapping[str, bool] = field(default_factory=dict)


class CategoryRule(Struct, frozen=True):
    """One element whose codes tell the category of single resources; ``system`` None: whatever the system."""

    element: str
    system: str | None
    codes: Mapping[str, str]


class Categories(Struct, frozen=True):
    """The category of each type of the patient compartment, and what tells it of single resources."""

    types: Mapping[str, str]
    rules: Mapping[str, tuple[CategoryRule, ...]]


class Definitions(Struct, frozen=True):
    """All tables. ``search_params`` maps a resource type to its parameters by code, the common ones included."""

    version: str
    resource_types: tuple[str, ...]
    types: Mapping[str, TypeDef]
    search_params: Mapping[str, Mapping[str, SearchParam]]
    compartments: Mapping[str, Compartment]
    unsupported: tuple[Unsupported, ...]
    operations: tuple[OperationDef, ...] = ()
    matrix: Matrix = Matrix("", {}, {})
    categories: Categories = Categories({}, {})
