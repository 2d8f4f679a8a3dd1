"""Asking for rows that lie in blocks: a query is said of the documents that may have some, and of each row within one.

https://www.mongodb.com/docs/manual/reference/operator/aggregation/filter/. A row names places in the lists of its block, so that what
is asked for is looked up once for a block, and compared by number for each row: a count takes a third of what documents made of the rows
take, and less than rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_hex
from typing import Any

from fhir_dmp.store.log import OF_EACH, loosened
from fhir_dmp.store.query import EVERYTHING, Among, And, Between, Eq, In, Like, Not, Or, Query, both, either, mentions
from fhir_dmp.stores.mongo.blocks import BLOCK, FOUND_BY, ID, SPAN, WHOLE
from fhir_dmp.stores.mongo.compile import compile_query, pattern_of
from fhir_dmp.stores.mongo.moments import Month

_OF_ANY = frozenset((*FOUND_BY, "k", "_id"))
"""What a query may ask of a row that its block tells only of any of them."""

_HAVE = frozenset((*FOUND_BY, "rec", "_id"))
"""What rows of a block have; what they lack meets nothing."""

_OF_ROWS_ALONE = frozenset(("at", "ps"))
"""What a row has that lies in no block."""

_ABSENT = token_hex(16)
"""Stands for the place of what a block's list lacks. Nobody knew it before this process began, so that no row names it: one that named
-1, which is what the database has for that, would be found by whatever is not there.
"""

_ONE, _SEVERAL, _HAS_SEVERAL = {"rows.m": {"$exists": False}}, {"rows.m": {"$exists": True}}, {"m": {"$exists": True}}
_IS_ONE = {"$eq": [{"$type": "$$row.m"}, "missing"]}
_EARLIEST = {"$cond": [{"$isNumber": "$rec"}, {"$subtract": ["$rec", SPAN]}, "$rec"]}
_TYPES = {"$map": {"input": "$$own", "as": "each", "in": {"$type": "$$each"}}}
_FIT = [
    {"$eq": ["$rec", {"$max": "$$own"}]},
    {"$gte": [{"$min": "$$own"}, _EARLIEST]},
    {"$eq": [{"$size": "$$own"}, {"$size": "$rows"}]},
    {"$setIsSubset": [_TYPES, WHOLE]},
]
SOUND = {"$let": {"vars": {"own": "$rows.rec"}, "in": {"$and": _FIT}}}
"""The expression for whether the moments of the rows are those of their block, as ``block_rows.moments_in`` judges it: otherwise each stands
where that does.
"""

_TEXT = "$$text"
_Expression = Any
_Stage = dict[str, Any]


def gathered(query: Query) -> Query:  # noqa: PLR0911 - one line for each word of the algebra
    """Return what a document meets if any of its rows meets the query."""
    match query:
        case And(parts):
            return And(tuple(gathered(part) for part in parts))
        case Or(parts):
            return Or(tuple(gathered(part) for part in parts))
        case Eq("_id", row_id):
            return Or((query, Eq(ID, row_id)))
        case Eq("rec", int() as moment):
            return Between("rec", moment, moment + SPAN + 1)
        case Between("rec", low, int() as high):
            return Between("rec", low, high + SPAN)
        case Not(Between("rec", int() as low, None)):
            return Not(Between("rec", low + SPAN, None))
        case Among(field, values) if field in _OF_ANY:
            return In(field, values)
        case Not():
            return EVERYTHING if mentions(query, _OF_ANY | {"rec"}) else query
        case _:
            return EVERYTHING if mentions(query, OF_EACH | {"_id"}) else query


def alone(query: Query) -> bool:
    """Tell whether what meets the query stands alone: no row of a block has what it asks for."""
    match query:
        case And(parts):
            return any(alone(part) for part in parts)
        case Or(parts):
            return all(alone(part) for part in parts)
        case Not():
            return False
        case _:
            return mentions(query, _OF_ROWS_ALONE)


def holding(query: Query) -> _Stage:
    """Return what blocks meet that may have a row which meets the query, whenever it was recorded: few lie across the ends of a time."""
    places: dict[str, _Expression] = {}
    query = _timeless(query)
    loose = loosened(query)
    meets = _said(query, places)
    if loose != query:
        meets = {"$cond": [_IS_ONE, meets, _said(loose, places)]}
    some = {"$gt": [{"$size": _filtered(meets, places)}, 0]}
    return {
        **BLOCK,
        "$expr": {"$cond": [{"$isArray": "$rows"}, some, True]},
    }  # of rows alone the database may ask it first


def _timeless(query: Query) -> Query:
    """Return what is left to ask if nothing is asked about time."""
    match query:
        case And(parts):
            return both(*(_timeless(part) for part in parts))
        case Or(parts):
            return either([_timeless(part) for part in parts])
        case _:
            return EVERYTHING if mentions(query, frozenset({"rec"})) else query


def counting(query: Query, month: Month) -> list[_Stage]:
    """Return stages that count, as ``n``, rows of blocks that hold one AuditEvent and meet the query, and how many of these are ``lost``.

    ``several`` blocks have rows that hold several, and are left to ``each_several``.
    """
    lost = {
        "$cond": [month.has_all, 0, {"$subtract": [{"$size": _meeting(query)}, {"$size": _standing(query, month)}]}]
    }
    several = {"$cond": [{"$eq": [{"$type": "$m"}, "missing"]}, 0, 1]}
    counts = {"n": {"$size": _meeting(query)}, "lost": lost, "several": several}
    return [_blocks(query), {"$group": {"_id": None, **{name: {"$sum": each} for name, each in counts.items()}}}]


def each_row(query: Query, month: Month | None = None) -> list[_Stage]:
    """Return stages that make one document of each row of a block that holds one AuditEvent and meets the query; that stands in the month."""
    fields = dict.fromkeys(("rec", *FOUND_BY), 1)
    rows = {"$cond": [month.has_all, _meeting(query), _standing(query, month)]} if month else _meeting(query)
    return [_blocks(query), {"$project": {**fields, "sound": SOUND, "rows": rows}}, *_apart(careful=False)]


def each_several(query: Query) -> list[_Stage]:
    """Return stages that make one document of each row that holds several AuditEvents, of blocks that may have some which meet the query."""
    fields = dict.fromkeys(("rec", "rows", *FOUND_BY), 1)
    several = {"$and": [_blocks(query)["$match"], _HAS_SEVERAL]}
    return [{"$match": several}, {"$project": {**fields, "sound": SOUND}}, *_apart(_SEVERAL, careful=False)]


def left_of_damaged(query: Query, *, several: bool) -> list[_Stage]:
    """Return stages that make documents of rows, at several times the cost, of whatever is left of blocks that somebody damaged.

    The database can make nothing of such a block by the other stages, and says so. Which rows meet the query is left to who asks. They are
    those that pages tell (``told``).
    """
    listed = {name: _listed(f"${name}") for name in FOUND_BY}
    rows = {"$cond": [{"$isArray": "$rows"}, "$rows", [{"i": "$_id"}]]}
    sound = {"$cond": [{"$isArray": "$rows"}, SOUND, False]}
    stages = _apart(_SEVERAL if several else _ONE, careful=True)
    blocks = [_blocks(query), *([{"$match": _HAS_SEVERAL}] if several else ())]
    return [*blocks, {"$project": {"rec": 1, **listed, "rows": rows, "sound": sound}}, *stages]


def _blocks(query: Query) -> _Stage:
    return {"$match": {"$and": [compile_query(gathered(query)), BLOCK]}}


def _apart(which: _Stage | None = None, *, careful: bool) -> list[_Stage]:
    """Return stages that make a document of each row, found as it is when it stands alone."""
    return [
        {"$unwind": "$rows"},
        *([{"$match": {**which, "$expr": {"$not": [{"$isArray": "$rows"}]}}}] if which else ()),
        {
            "$replaceWith": {
                "_id": "$rows.i",
                "rec": {"$cond": ["$sound", "$rows.rec", "$rec"]},
                **{name: _named(name, careful=careful) for name in FOUND_BY},
                **{name: f"$rows.{name}" for name in ("m", "x", "c", "cu")},
            }
        },
    ]


def _named(name: str, *, careful: bool) -> _Expression:
    """Return the expression for what a row of a block is found by."""
    places, texts = f"$rows.{name}", f"${name}"
    if not careful:
        return {"$map": {"input": places, "as": "at", "in": {"$arrayElemAt": [texts, "$$at"]}}}
    is_place = [
        {"$isNumber": "$$at"},
        {"$gte": ["$$at", 0]},
        {"$lt": ["$$at", {"$size": texts}]},
        {"$eq": ["$$at", {"$floor": "$$at"}]},
    ]
    text = {"$let": {"vars": {"text": {"$arrayElemAt": [texts, {"$toInt": "$$at"}]}}, "in": _first_of(texts, "$$at")}}
    return {"$map": {"input": _listed(places), "as": "at", "in": {"$cond": [{"$and": is_place}, text, None]}}}


def _first_of(texts: str, at: _Expression) -> _Expression:
    """Return the expression for the text that stands there, if it stands there first: by its first place alone others find it."""
    return {"$cond": [{"$eq": [{"$indexOfArray": [texts, _TEXT]}, at]}, _TEXT, None]}


def _listed(field: _Expression) -> _Expression:
    """Return the expression for a list that may not be there, or be none."""
    return {"$cond": [{"$isArray": [field]}, field, []]}


def _meeting(query: Query) -> _Expression:
    """Return the expression for those rows of a block that hold one AuditEvent and meet the query."""
    places: dict[str, _Expression] = {}
    return _filtered({"$and": [_IS_ONE, _said(query, places)]}, places)


def _standing(query: Query, month: Month) -> _Expression:
    """Return the expression for those of these rows that stand in the month."""
    places: dict[str, _Expression] = {}
    return _filtered({"$and": [_IS_ONE, _said(query, places), month.has(_recorded(places))]}, places)


def _filtered(meets: _Expression, places: dict[str, _Expression]) -> _Expression:
    """Return the expression for those rows of a block of which this is true; ``places`` are looked up once for the block."""
    return {
        "$let": {
            "vars": places,
            "in": {"$filter": {"input": "$rows", "as": "row", "cond": meets}},
        }
    }


def _said(query: Query, places: dict[str, _Expression]) -> _Expression:  # noqa: C901, PLR0911, PLR0912 - one line for each word of the algebra
    """Return what the query asks of ``$$row``; ``places`` is given what is to be looked up once for the block."""
    match query:
        case And(parts):
            return {"$and": [_said(part, places) for part in parts]}
        case Or(parts):
            return {"$or": [_said(part, places) for part in parts]}
        case Not(part):
            return {"$not": [_said(part, places)]}
        case Eq(field, value) if field in FOUND_BY:
            return {"$in": [_looked_up(places, _place_of(field, value)), f"$$row.{field}"]}
        case In(field, values) if field in FOUND_BY:
            return _any(field, _looked_up(places, _places_of(field, values)))
        case Among(field, values) if field in FOUND_BY:
            within = {"$setIsSubset": [f"$$row.{field}", _looked_up(places, _places_of(field, values))]}
            return {"$and": [{"$gt": [{"$size": f"$$row.{field}"}, 0]}, within]}
        case Like(field) if field in FOUND_BY:
            return _any(field, _looked_up(places, _where(field, _like(query))))
        case Between(field, low, high) if field in FOUND_BY:
            return _any(field, _looked_up(places, _where(field, _within(_TEXT, low, high))))
        case Eq("_id", value):
            return {"$eq": ["$$row.i", {"$literal": value}]}
        case In("_id", values):
            return {"$in": ["$$row.i", {"$literal": [*values]}]}
        case Eq("rec", value):
            return {"$eq": [_recorded(places), value]}
        case Between("rec", low, high):
            return _within(_recorded(places), low, high)
        case _ if mentions(query, _HAVE):
            raise ValueError(f"a row of a block is not asked for by {query}")
        case _:
            return {"$literal": False}


def _recorded(places: dict[str, _Expression]) -> _Expression:
    return {"$cond": [_looked_up(places, SOUND), "$$row.rec", "$rec"]}


def _index_of(field: str, value: Any) -> _Expression:
    return {"$indexOfArray": [f"${field}", {"$literal": value}]}


def _place_of(field: str, value: Any) -> _Expression:
    found = {"$cond": [{"$gte": ["$$at", 0]}, "$$at", _ABSENT]}
    return {"$let": {"vars": {"at": _index_of(field, value)}, "in": found}}


def _places_of(field: str, values: Sequence[Any]) -> _Expression:
    return {"$setDifference": [[_index_of(field, value) for value in values], [-1]]}


def _where(field: str, meets: _Expression) -> _Expression:
    """Return where texts first stand in the list of the block of which ``meets`` is true: ``$$text`` is each."""
    first = {"$eq": [{"$indexOfArray": [f"${field}", _TEXT]}, "$$at"]}
    told = {"$let": {"vars": {"text": {"$arrayElemAt": [f"${field}", "$$at"]}}, "in": {"$and": [meets, first]}}}
    return {"$filter": {"input": {"$range": [0, {"$size": f"${field}"}]}, "as": "at", "cond": told}}


def _like(like: Like) -> _Expression:
    return {"$regexMatch": {"input": _TEXT, "regex": {"$literal": pattern_of(like)}, "options": "s"}}


def _within(value: _Expression, low: Any, high: Any) -> _Expression:
    ends = (("$gte", low), ("$lt", high))
    return {"$and": [{name: [value, {"$literal": end}]} for name, end in ends if end is not None]}


def _any(field: str, places: _Expression) -> _Expression:
    return {"$gt": [{"$size": {"$setIntersection": [f"$$row.{field}", places]}}, 0]}


def _looked_up(places: dict[str, _Expression], what: _Expression) -> str:
    """Have it looked up once for the block; return what it is called."""
    name = next((name for name, known in places.items() if known == what), f"place{len(places)}")
    places[name] = what
    return f"$${name}"
