"""Asks what it is told to: a request as JSON on each line of standard input, what came of it on each line of output."""

import json
import sys

from kubernetes import config, dynamic
from kubernetes.client.rest import ApiException

PATCHES = {kind: f"application/{kind}-patch+json" for kind in ("merge", "json")} | {
    "strategic": "application/strategic-merge-patch+json"
}
# The dynamic client's names of parameters; it passes on what it has no name for as `query_params`.
NAMES = {
    "labelSelector": "label_selector",
    "fieldSelector": "field_selector",
    "limit": "limit",
    "continue": "_continue",
    "resourceVersion": "resource_version",
    "resourceVersionMatch": "resource_version_match",
    "dryRun": "dry_run",
    "fieldManager": "field_manager",
    "force": "force_conflicts",
}

client = dynamic.DynamicClient(config.new_client_from_config())


def options(query):
    named = {NAMES[name]: value for name, value in query.items() if name in NAMES}
    others = [(name, value) for name, value in query.items() if name not in NAMES]
    return named | {"query_params": others, "serialize": False}


def watched(resource, asked):
    query = {NAMES.get(name, name): value for name, value in asked["query"].items()}
    query["timeout"] = query.pop("timeoutSeconds")
    for parameter, name in (("sendInitialEvents", "send_initial_events"), ("allowWatchBookmarks", "allow_watch_bookmarks")):
        if parameter in query:
            query[name] = query.pop(parameter) == "true"
    events = []
    for event in resource.watch(namespace=asked["namespace"], **query):
        events.append({"type": event["type"], "object": event["raw_object"]})
        if len(events) == asked["events"]:
            return {"events": events}
    return {"events": events}


def answer(asked):
    resource = client.resources.get(api_version=asked["apiVersion"], kind=asked["kind"])
    verb, named = asked["verb"], {"name": asked["name"], "namespace": asked["namespace"]}
    if verb == "watch":
        return watched(resource, asked)
    if asked["subresource"]:
        resource = resource.subresources[asked["subresource"]]
    query = options(asked["query"])
    if verb == "create":
        said = resource.create(body=asked["body"], namespace=asked["namespace"], **query)
    elif verb == "get":
        said = resource.get(**named, **query)
    elif verb == "list":
        said = resource.get(namespace=asked["namespace"], **query)
    elif verb == "replace":
        said = resource.replace(body=asked["body"], **named, **query)
    elif verb == "apply":
        said = resource.server_side_apply(body=asked["body"], **named, **query)
    elif verb == "delete":
        said = resource.delete(body=asked["body"], **named, **query)
    elif verb == "deleteAll":
        said = resource.delete(namespace=asked["namespace"], **query)
    else:
        said = resource.patch(body=asked["body"], content_type=PATCHES[verb], **named, **query)
    return {"answered": json.loads(said.data)}


for line in sys.stdin:
    try:
        came = answer(json.loads(line))
    except ApiException as error:
        came = {"refused": json.loads(error.body)}
    except Exception as error:  # What the client itself makes of it is an outcome as well.
        came = {"refused": {"reason": type(error).__name__, "message": str(error)}}
    print(json.dumps(came), flush=True)
