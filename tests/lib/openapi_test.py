"""Holds common/serve/openapi.json against the server's tables and against a running server.

    openapi_test.py ROOT PORT

- The paths and methods are those of routes.c. The fields of requests are those that body_fields.c has and does not refuse.
- Each field alone, with a value that its schema allows, is one that the server knows; an invented one is refused by its name.
- Answers to requests of each path fit the schema of the answer.

SPDX-License-Identifier: AGPL-3.0-or-later"""
import http.client, json, re, sys

root, port = sys.argv[1], int(sys.argv[2])
doc = json.load(open(f"{root}/common/serve/openapi.json"))
schemas = doc["components"]["schemas"]
KINDS = {"CHAT": "ChatRequest", "TEXT": "CompletionRequest", "RESP": "ResponsesRequest", "ANTH": "MessagesRequest"}
SETS = {"BOTH": "CHAT TEXT", "OPENAI": "CHAT TEXT RESP", "ALL": "CHAT TEXT RESP ANTH"}
wrong = []


def same(what, ours, documented):
    for name in sorted(ours ^ documented):
        wrong.append(f"{what}: {name} is only in " + ("the code" if name in ours else "openapi.json"))


def resolve(schema):
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
    return schema


def fits(value, schema, where):
    """The part of JSON Schema that the file uses. Returns the first place that does not fit."""
    schema = resolve(schema)
    if "anyOf" in schema:
        return None if any(fits(value, s, where) is None for s in schema["anyOf"]) else f"{where} fits none of anyOf"
    if "const" in schema and value != schema["const"]:
        return f"{where} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{where} is none of {schema['enum']}"
    types = schema.get("type", [])
    names = [types] if isinstance(types, str) else types
    kinds = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None), "object": dict, "array": list}
    if names and not any(isinstance(value, kinds[t]) and not (isinstance(value, bool) and t in ("integer", "number")) for t in names):
        return f"{where} is a {type(value).__name__}, not {names}"
    if isinstance(value, dict):
        missing = [k for k in schema.get("required", []) if k not in value]
        if missing:
            return f"{where} lacks {missing}"
        for k, v in value.items():
            inner = schema.get("properties", {}).get(k, schema.get("additionalProperties", {}))
            bad = f"{where} has {k}" if inner is False else fits(v, inner, f"{where}.{k}") if isinstance(inner, dict) else None
            if bad:
                return bad
    if isinstance(value, list) and "items" in schema:
        for i, v in enumerate(value):
            bad = fits(v, schema["items"], f"{where}[{i}]")
            if bad:
                return bad
    return None


def ask(method, path, body=None):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    c.request(method, path, None if body is None else json.dumps(body))
    r = c.getresponse()
    return r.status, r.read()


# Routes.
routes = set()
for method, path, prefix in re.findall(r'^\s*\{"(\w+)", "([^"]+)", (.*?),', open(f"{root}/common/serve/routes.c").read(), re.M):
    routes.add((method.lower(), path + ("{name}" if "PREFIX" in prefix else "")))
same("routes", {f"{m} {p}" for m, p in routes}, {f"{m} {p}" for p, o in doc["paths"].items() for m in o})

# Fields.
fields = {k: set() for k in KINDS}
for name, kind, kinds in re.findall(r'\{"(\w+)", (BODY_\w+), ([A-Z |]+),', open(f"{root}/common/serve/body_fields.c").read()):
    for k in re.findall(r"\w+", kinds):
        for one in SETS.get(k, k).split():
            if kind != "BODY_NOT_YET":
                fields[one].add(name)
for kind, schema in KINDS.items():
    same(schema, fields[kind], set(schemas[schema]["properties"]))
    if schemas[schema].get("additionalProperties") is not False:
        wrong.append(f"{schema} allows other fields")

if not wrong:
    for path, operations in doc["paths"].items():
        if "post" not in operations:
            continue
        schema = resolve(operations["post"]["requestBody"]["content"]["application/json"]["schema"])
        for one in map(resolve, schema.get("anyOf", [schema])):
            chooses = {"messages": 5} if "anyOf" in schema and "messages" in one.get("required", []) else {}  # the kind of body
            for name in one["properties"]:
                status, body = ask("POST", path, {name: None, **chooses})
                if b"is not a field" in body:
                    wrong.append(f"{path}: the server does not know {name}")
        status, body = ask("POST", path, {"planted": 1})
        if status != 400 or "planted" not in json.loads(body)["error"]["message"]:
            wrong.append(f"{path}: planted gives {status}")

    chat = [{"role": "user", "content": "Hello"}]
    requests = [
        ("GET", "/health", None), ("GET", "/v1/models", None), ("GET", "/v1/models/{name}", None), ("GET", "/tokenizer_info", None),
        ("GET", "/openapi.json", None),
        ("POST", "/v1/chat/completions", {"messages": chat, "max_tokens": 3}),
        ("POST", "/v1/chat/completions", {"messages": chat, "max_tokens": 3, "n": 2, "logprobs": True, "top_logprobs": 2}),
        ("POST", "/v1/completions", {"prompt": ["a", "b"], "max_tokens": 3, "logprobs": 2, "echo": True}),
        ("POST", "/v1/completions", {"prompt": [[5], [6, 7]], "max_tokens": 3}),
        ("POST", "/v1/responses", {"input": "Hello", "max_output_tokens": 3}),
        ("POST", "/v1/messages", {"messages": chat, "max_tokens": 3}),
        ("POST", "/v1/messages/count_tokens", {"messages": chat}),
        ("POST", "/tokenize", {"prompt": "Hello"}), ("POST", "/detokenize", {"tokens": [5]}),
        ("POST", "/v1/chat/completions", {"messages": chat, "temperature": -1}),
        ("POST", "/v1/embeddings", {"input": "a", "model": "nobody"}),
    ]
    for method, path, body in requests:
        status, text = ask(method, path.replace("{name}", "tiny"), body)
        answers = doc["paths"][path][method.lower()]["responses"]
        if str(status) not in answers:
            wrong.append(f"{path}: status {status} is not described: {text[:300]}")
            continue
        bad = fits(json.loads(text), answers[str(status)]["content"]["application/json"]["schema"], path)
        if bad:
            wrong.append(bad)
        if body is not None and status == 200:
            schema = doc["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
            bad = fits(body, schema, f"the request to {path}")
            if bad:
                wrong.append(bad)

print("\n".join(wrong) or "ok")
sys.exit(bool(wrong))
