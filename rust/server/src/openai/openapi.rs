//! `/openapi.json`: the routes and shapes for programs. Requests come from the same table that the
//! parser obeys.

pub(crate) mod schemas;

use serde_json::{Map, Value, json};

use super::responses;
use super::schema::{Endpoint, Fate, Param, body_params};
use crate::anthropic::openapi as anthropic;

/// Returns the document, in OpenAPI 3.1. Its paths begin at `prefix`, if the routes are mounted
/// under one.
#[must_use]
pub fn document(version: &str, prefix: Option<&str>) -> Value {
    let mut document = json!({
        "openapi": "3.1.0",
        "info": { "title": "streamcore", "version": version },
        "paths": paths(),
        "components": {
            "schemas": all_schemas(),
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "key": { "type": "apiKey", "in": "header", "name": "x-api-key" },
            },
        },
        "security": [{}, { "bearer": [] }, { "key": [] }],
    });
    if let Some(prefix) = prefix {
        document["servers"] = json!([{ "url": prefix }]);
    }
    document
}

fn paths() -> Value {
    let id = json!([{ "name": "id", "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } }]);
    json!({
        "/v1/chat/completions": { "post": post(
            "createChatCompletion", "ChatCompletionRequest", "ChatCompletion", Some(chunk("ChatCompletionChunk")),
        ) },
        "/v1/completions": { "post": post(
            "createCompletion", "CompletionRequest", "Completion", Some(chunk("CompletionChunk")),
        ) },
        "/v1/messages": { "post": anthropic::post(
            "createMessage", "MessageRequest", "MessageAnswer", Some(event(&reference("MessageEvent"))),
        ) },
        "/v1/messages/count_tokens": { "post": anthropic::post(
            "countMessageTokens", "MessageCountRequest", "MessageTokens", None,
        ) },
        "/v1/responses": { "post": post(
            "createResponse", "ResponseRequest", "Response", Some(event(&reference("ResponseEvent"))),
        ) },
        "/v1/responses/compact": { "post": not_offered("compactResponse") },
        "/v1/responses/input_tokens": { "post": post(
            "countResponseTokens", "ResponseRequest", "ResponseTokens", None,
        ) },
        "/v1/responses/{id}": {
            "get": queried(asked("retrieveResponse", &streamed("Response", &event(&reference("ResponseEvent")))), &[
                ("stream", json!({ "type": "boolean" }), "Its events, if it was created with `stream`."),
                ("starting_after", json!({ "type": "integer", "minimum": 0 }), "Those behind this number."),
            ]),
            "delete": asked("deleteResponse", &content("DeletedResponse")),
            "parameters": id,
        },
        "/v1/responses/{id}/cancel": {
            "post": asked("cancelResponse", &content("Response")), "parameters": id,
        },
        "/v1/responses/{id}/input_items": {
            "get": queried(asked("listInputItems", &content("ResponseItemList")), &[
                ("limit", json!({ "type": "integer", "minimum": 1, "maximum": 100 }), "Items of a page."),
                ("order", json!({ "enum": ["asc", "desc"] }), "The last item comes first unless it is `asc`."),
                ("after", json!({ "type": "string" }), "The id of the item before the page."),
            ]),
            "parameters": id,
        },
        "/v1/models": { "get": anthropic::or_other("listModels", "ModelList", "MessageModelList") },
        "/v1/models/{id}": {
            "get": anthropic::or_other("retrieveModel", "Model", "MessageModel"), "parameters": id,
        },
        "/tokenize": { "post": post("tokenize", "TokenizeRequest", "TokenizeResponse", None) },
        "/detokenize": { "post": post("detokenize", "DetokenizeRequest", "DetokenizeResponse", None) },
        "/health": { "get": probe("health") },
        "/ready": { "get": probe("ready") },
        "/version": { "get": get("version", &content("Version")) },
        "/metrics": { "get": get("metrics", &json!({ "text/plain": { "schema": { "type": "string" } } })) },
        "/openapi.json": { "get": get("openapi", &json!({ "application/json": { "schema": { "type": "object" } } })) },
    })
}

/// Returns the operation of a route of OpenAI's that this server refuses.
fn not_offered(id: &str) -> Value {
    let refused =
        [("401", "no valid key"), ("403", "foreign `Host`"), ("404", "not offered, the message says why")];
    json!({ "operationId": id, "responses": errors(&refused, &reference("Error")) })
}

/// Returns the operation that reads a stored object.
fn asked(id: &str, answer: &Value) -> Value {
    let mut operation = get(id, answer);
    operation["responses"]["400"] = json!({ "description": "not possible", "content": content("Error") });
    operation
}

/// An operation with what may stand behind the question mark.
fn queried(mut operation: Value, params: &[(&str, Value, &str)]) -> Value {
    let params = params.iter().map(|(name, schema, about)| {
        json!({ "name": name, "in": "query", "schema": schema, "description": about })
    });
    operation["parameters"] = params.collect();
    operation
}

pub(crate) fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn content(schema: &str) -> Value {
    json!({ "application/json": { "schema": reference(schema) } })
}

/// Returns the `data` of an event, JSON of this schema.
pub(crate) fn event(schema: &Value) -> Value {
    json!({ "type": "string", "contentMediaType": "application/json", "contentSchema": schema })
}

/// Returns the `data` of an event of a completion: a chunk of this schema, an error, or the end.
fn chunk(schema: &str) -> Value {
    let body = json!({ "anyOf": [reference(schema), reference("Error")] });
    json!({ "anyOf": [{ "const": "[DONE]" }, event(&body)] })
}

/// Returns a body of this schema, or a stream of events with such `data`. OpenAPI 3.1 has no word
/// for streams; tools read the schema of this kind of content as that of one event.
fn streamed(schema: &str, data: &Value) -> Value {
    let mut kinds = content(schema);
    let fields = json!({ "event": { "type": "string" }, "data": data });
    let event = json!({ "type": "object", "properties": fields, "required": ["data"] });
    kinds["text/event-stream"] = json!({ "schema": event });
    kinds
}

/// Returns an answer to `GET`, whose refusals have this schema.
pub(crate) fn get_with(id: &str, answer: &Value, error: &Value) -> Value {
    let mut responses = errors(
        &[("401", "no valid key"), ("403", "foreign `Host`"), ("404", "not found"), ("503", "not ready")],
        error,
    );
    responses.insert("200".to_owned(), json!({ "description": "the answer", "content": answer }));
    json!({ "operationId": id, "responses": responses })
}

fn get(id: &str, answer: &Value) -> Value {
    get_with(id, answer, &reference("Error"))
}

/// Returns the operation of a probe, which needs no key.
fn probe(id: &str) -> Value {
    let mut responses = errors(&[("503", "not ready")], &reference("Error"));
    responses.insert("200".to_owned(), json!({ "description": "the answer" }));
    json!({ "operationId": id, "responses": responses, "security": [] })
}

/// Returns a `POST` operation. `data` is that of an event, where the answer may be streamed.
fn post(id: &str, request: &str, answer: &str, data: Option<Value>) -> Value {
    post_with(id, request, answer, data, &reference("Error"))
}

/// Returns a `POST` operation whose refusals have this schema.
pub(crate) fn post_with(id: &str, request: &str, answer: &str, data: Option<Value>, error: &Value) -> Value {
    let refused = [
        ("400", "the body cannot be honoured, `param` names the field"),
        ("401", "no valid key"),
        ("403", "foreign `Host`"),
        ("404", "no such model"),
        ("408", "the body did not arrive in time"),
        ("413", "the body is too long"),
        ("415", "the body is not JSON"),
        ("429", "the queue is full, `Retry-After` says when to come back"),
        ("503", "shutting down or unhealthy"),
        ("504", "not complete within the time that the client waits, which SDKs tell in a header"),
    ];
    let mut responses = errors(&refused, error);
    let kinds = data.map_or_else(|| content(answer), |data| streamed(answer, &data));
    responses.insert("200".to_owned(), json!({ "description": "the answer", "content": kinds }));
    let body = json!({ "required": true, "content": content(request) });
    json!({ "operationId": id, "requestBody": body, "responses": responses })
}

fn errors(statuses: &[(&str, &str)], schema: &Value) -> Map<String, Value> {
    let response = |&(status, description): &(&str, &str)| {
        let content = json!({ "application/json": { "schema": schema } });
        (status.to_owned(), json!({ "description": description, "content": content }))
    };
    statuses.iter().map(response).collect()
}

fn all_schemas() -> Value {
    let mut all = schemas::fixed();
    all["ChatCompletionRequest"] = request(Endpoint::Chat);
    all["CompletionRequest"] = request(Endpoint::Completions);
    responses::schemas::schemas().into_iter().for_each(|(name, schema)| all[name] = schema);
    anthropic::schemas().into_iter().for_each(|(name, schema)| all[name] = schema);
    all
}

fn request(endpoint: Endpoint) -> Value {
    parameters(body_params().filter(|param| param.is_on(endpoint)))
}

/// Returns an object with these fields.
pub(crate) fn parameters<'a>(params: impl Iterator<Item = &'a Param>) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for param in params {
        let (schema, about) = match param.fate {
            Fate::Honoured { default: "" } => {
                required.push(param.name);
                (param.kind.schema(), param.about.to_owned())
            }
            Fate::Honoured { .. } => (or_null(&param.kind.schema()), param.about.to_owned()),
            Fate::Refused { unless, instead } => {
                let instead = instead.map_or_else(String::new, |ours| format!(" Use `{ours}`."));
                (or_null(&unless.schema()), format!("Refused otherwise.{instead} {}", param.about))
            }
            Fate::Ignored => (json!({}), format!("Ignored. {}", param.about)),
        };
        let mut schema = schema;
        schema["description"] = about.into();
        properties.insert(param.name.to_owned(), schema);
    }
    json!({ "type": "object", "properties": properties, "required": required })
}

fn or_null(schema: &Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}
