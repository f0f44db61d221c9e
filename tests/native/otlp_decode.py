"""Decodes what a collector was sent, by OpenTelemetry's own definitions: lines of JSON, path and body in base64, to lines of JSON."""

import base64
import json
import sys

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

REQUESTS = {"/v1/logs": ExportLogsServiceRequest, "/v1/traces": ExportTraceServiceRequest}


def plain(value):
    """An AnyValue as what it holds."""
    [(kind, held)] = value.items() if value else [("stringValue", "")]
    if kind == "intValue":
        return int(held)
    if kind == "arrayValue":
        return [plain(one) for one in held.get("values", [])]
    if kind == "kvlistValue":
        return attributes(held.get("values", []))
    return held


def attributes(listed):
    return {one["key"]: plain(one.get("value", {})) for one in listed}


def ids(thing):
    for name in ("traceId", "spanId", "parentSpanId"):
        thing[name] = base64.b64decode(thing.get(name, "")).hex()
    return thing


def things(path, body):
    request = MessageToDict(REQUESTS[path].FromString(body))
    for resource in request.get("resourceLogs", []) + request.get("resourceSpans", []):
        for scope in resource.get("scopeLogs", []) + resource.get("scopeSpans", []):
            for thing in scope.get("logRecords", []) + scope.get("spans", []):
                yield {**ids(thing), "attributes": attributes(thing.get("attributes", [])),
                       "links": [ids(link) for link in thing.get("links", [])], "body": plain(thing.get("body", {})),
                       "resource": attributes(resource["resource"]["attributes"]), "scope": scope["scope"]["name"]}


for line in sys.stdin:
    sent = json.loads(line)
    for thing in things(sent["path"], base64.b64decode(sent["body"])):
        print(json.dumps({"path": sent["path"], **thing}))
