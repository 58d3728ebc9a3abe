"""The JSON that the service answers with, as OpenAPI describes it (docs/formats.md says each key)."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from crossgeo.web.keys import Role, needed
from crossgeo.web.problems import SCHEMA as PROBLEM

Schema = dict[str, Any]


def _object(title: str, required: Schema, optional: Schema | None = None) -> Schema:
    return {"type": "object", "title": title, "required": list(required), "properties": {**required, **(optional or {})}}


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _or_null(kind: str) -> Schema:
    return {"type": [kind, "null"]}


def ref(name: str) -> Schema:
    """Return a reference to one of these."""
    return {"$ref": f"#/components/schemas/{name}"}


def answers(status: int, description: str, schema: Schema, media_type: str = "application/json") -> dict[int | str, Schema]:
    """Return OpenAPI's entry for what a route answers."""
    return {status: {"description": description, "content": {media_type: {"schema": schema}}}}


TEXT, NUMBER, COUNT = {"type": "string"}, {"type": "number"}, {"type": "integer", "minimum": 0}
STATUS = {"type": "string", "enum": ["located", "ambiguous", "low_confidence", "outside_coverage"]}
STATE = {"type": "string", "enum": ["queued", "running", "done", "cancelled", "failed"]}
SCHEMAS: Schema = {
    "Problem": PROBLEM,
    "Place": _object(
        "Place",
        {"lat": NUMBER, "lon": NUMBER, "radius_m": NUMBER, "heading_deg": NUMBER, "score": NUMBER, "tile": COUNT},
        {"source": _or_null("string"), "vintage": _or_null("string")},
    ),
    "FoundObject": _object(
        "FoundObject",
        {
            "lat": NUMBER,
            "lon": NUMBER,
            "box_px": _list(NUMBER, minItems=4, maxItems=4),
            "polygon": {"type": "object"},
            "width_m": NUMBER,
            "height_m": NUMBER,
            "confidence": NUMBER,
        },
    ),
    "Answer": _object(
        "Answer",
        {
            "photo": TEXT,
            "status": STATUS,
            "places": _list(ref("Place")),
            "object": {"anyOf": [ref("FoundObject"), {"type": "null"}]},
            "notes": _list(TEXT),
            "index": _object("Answering", {"generation": COUNT, "model": TEXT}),
            "timings_ms": {"type": "object", "additionalProperties": NUMBER},
        },
        {"objects": _list({"type": "object"}), "partial": _list(_list(NUMBER, minItems=4, maxItems=4), minItems=1)},
    ),
    "Index": _object(
        "Index",
        {
            "name": TEXT,
            "generation": COUNT,
            "hash": TEXT,
            "created": TEXT,
            "model": TEXT,
            "kinds": _list(TEXT),
            "tiles": COUNT,
            "gsd_m": NUMBER,
            "tile_m": NUMBER,
            "stride_m": NUMBER,
            "bounds": _list(NUMBER, minItems=4, maxItems=4),
            "centre": _list(NUMBER, minItems=2, maxItems=2),
            "min_zoom": COUNT,
            "max_zoom": COUNT,
            "tiles_url": TEXT,
            "sources": _list(
                _object("Source", {"name": TEXT, "vintage": _or_null("string"), "licence": _or_null("string"), "gsd_m": NUMBER})
            ),
        },
    ),
    "Indexes": _object("Indexes", {"indexes": _list(ref("Index"))}),
    "Coverage": _object("Coverage", {"type": {"const": "FeatureCollection"}, "features": _list({"type": "object"})}),
    "Job": _object(
        "Job",
        {
            "id": TEXT,
            "state": STATE,
            "index": TEXT,
            "created": TEXT,
            "finished": _or_null("string"),
            "total": COUNT,
            "done": COUNT,
            "located": COUNT,
            "ambiguous": COUNT,
            "low_confidence": COUNT,
            "outside": COUNT,
            "failed": COUNT,
            "why": _or_null("string"),
        },
    ),
    "Event": _object("Event", {"event": {"enum": ["record", "progress", "end"]}, "data": TEXT, "id": TEXT}),
    "Jobs": _object("Jobs", {"jobs": _list(ref("Job"))}),
    "Health": _object("Health", {"status": TEXT}, {"indexes": {"type": "object"}}),
}


def describe(app: FastAPI) -> None:
    """Have the application describe itself with these schemas, and say which addresses want which key."""

    def openapi() -> Schema:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes, tags=app.openapi_tags)
            parts = made.setdefault("components", {})
            parts["schemas"] = SCHEMAS
            parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "Only where the service was given keys"}}
            for path, methods in made["paths"].items():
                for method, operation in methods.items():
                    role = needed(method.upper(), path)
                    if role:
                        operation["security"] = [{}, {"key": []}]
                        operation["description"] = f"{operation.get('description', '')}\n\nKey: {Role(role).name.lower()}.".strip()
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
