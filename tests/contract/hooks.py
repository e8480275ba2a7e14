"""What schemathesis does not know by itself."""

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines_of_json(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@schemathesis.hook
def filter_query(ctx, query):
    # `?limit=` is `limit` left out, as in HTML forms; a schema cannot say so.
    return "" not in (query or {}).values()
