//! The routes of stored responses.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::body::json as json_body;
use super::super::generate::Client;
use crate::app::App;
use crate::error::ApiError;
use crate::sse;
use crate::stored::{StoredResponse, replay};
use crate::stream::keepalive_interval;

type Id = Result<Path<String>, PathRejection>;

/// Items of one page, where the client does not say how many.
const PAGE_LEN: usize = 20;
const MAX_PAGE_LEN: usize = 100;

/// `GET /v1/responses/{id}`: the object, or its events from one on.
pub(in crate::routes) async fn retrieve(
    State(app): State<Arc<App>>,
    id: Id,
    RawQuery(query): RawQuery,
    client: Client,
) -> Result<Response, ApiError> {
    let response = find(&app, &client, id)?;
    let query = Query::new(query);
    let after = query.number("starting_after")?;
    if !query.flag("stream")? {
        // The object is the same from wherever its events would be told.
        return Ok(json_body(response.body()));
    }
    if !response.keeps_events() {
        let message = "`stream` is not allowed, the response was not created with `stream`";
        return Err(invalid("stream", message));
    }
    let next = after.map_or(0, |after| after.saturating_add(1));
    if next < response.num_gone() {
        let message = format!(
            "`starting_after` is {}, events before {} are not kept any more",
            after.map_or_else(|| "missing".to_owned(), |after| after.to_string()),
            response.num_gone()
        );
        return Err(invalid("starting_after", message));
    }
    let max_silence = keepalive_interval(&client.headers);
    Ok(sse::response(Body::from_stream(replay(response, next, max_silence))))
}

/// `DELETE /v1/responses/{id}`: one that still runs in the background ends.
pub(in crate::routes) async fn delete(
    State(app): State<Arc<App>>,
    id: Id,
    client: Client,
) -> Result<Response, ApiError> {
    let response = find(&app, &client, id)?;
    if let Some(store) = &app.responses {
        store.delete(response.id(), client.key);
    }
    Ok(Json(json!({ "id": response.id(), "object": "response", "deleted": true })).into_response())
}

/// `POST /v1/responses/{id}/cancel`: ends one that runs in the background; one that has ended stays
/// as it is.
pub(in crate::routes) async fn cancel(
    State(app): State<Arc<App>>,
    id: Id,
    client: Client,
) -> Result<Response, ApiError> {
    let response = find(&app, &client, id)?;
    if !response.is_background() {
        let message = format!("response `{}` was not created with `background`", response.id());
        return Err(ApiError::Invalid { code: "invalid_value", param: None, message });
    }
    response.cancel().await;
    Ok(json_body(response.body()))
}

/// `GET /v1/responses/{id}/input_items`
pub(in crate::routes) async fn input_items(
    State(app): State<Arc<App>>,
    id: Id,
    RawQuery(query): RawQuery,
    client: Client,
) -> Result<Response, ApiError> {
    let response = find(&app, &client, id)?;
    let query = Query::new(query);
    let limit = query.number("limit")?.map_or(PAGE_LEN, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    if !(1..=MAX_PAGE_LEN).contains(&limit) {
        let message = format!("`limit` is {limit}, it must be between 1 and {MAX_PAGE_LEN}");
        return Err(invalid("limit", message));
    }
    let mut items: Vec<Value> = serde_json::from_slice(response.input()).unwrap_or_default();
    match query.get("order") {
        None | Some("desc") => items.reverse(),
        Some("asc") => {}
        Some(other) => {
            let other: String = other.chars().take(64).collect();
            return Err(invalid("order", format!("`order` is `{other}`, it must be `asc` or `desc`")));
        }
    }
    if let Some(after) = query.get("after") {
        let place = items.iter().position(|item| item["id"] == after);
        let place = place.ok_or_else(|| {
            let after: String = after.chars().take(64).collect();
            invalid("after", format!("`after` is `{after}`, which is no item of the response"))
        })?;
        items.drain(..=place);
    }
    let has_more = items.len() > limit;
    items.truncate(limit);
    let id_of = |item: Option<&Value>| item.map_or(Value::Null, |item| item["id"].clone());
    let (first_id, last_id) = (id_of(items.first()), id_of(items.last()));
    let list = json!({
        "object": "list", "data": items, "first_id": first_id, "last_id": last_id, "has_more": has_more,
    });
    Ok(Json(list).into_response())
}

fn find(app: &App, client: &Client, id: Id) -> Result<Arc<StoredResponse>, ApiError> {
    // An id that is not UTF-8 names no response.
    let Path(id) = id.unwrap_or_else(|_| Path(String::from("\u{fffd}")));
    let found = app.responses.as_ref().and_then(|store| store.find(&id, client.key, app.driver.now()));
    found.ok_or_else(|| ApiError::ResponseNotFound(id.chars().take(64).collect()))
}

fn invalid(param: &str, message: impl Into<String>) -> ApiError {
    ApiError::invalid("invalid_value", param, message)
}

/// The query of a URL; of several values of one name the last counts. The values read here never
/// need escapes.
struct Query(String);

impl Query {
    fn new(query: Option<String>) -> Self {
        Self(query.unwrap_or_default())
    }

    fn get(&self, name: &str) -> Option<&str> {
        let pairs = self.0.split('&').rev().filter_map(|pair| pair.split_once('='));
        pairs.filter(|(_, value)| !value.is_empty()).find_map(|(key, value)| (key == name).then_some(value))
    }

    fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name) {
            None => Ok(false),
            Some(value) if value.eq_ignore_ascii_case("true") => Ok(true),
            Some(value) if value.eq_ignore_ascii_case("false") => Ok(false),
            Some(other) => {
                let other: String = other.chars().take(64).collect();
                Err(invalid(name, format!("`{name}` is `{other}`, it must be `true` or `false`")))
            }
        }
    }

    fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| {
            let value: String = value.chars().take(64).collect();
            invalid(name, format!("`{name}` is `{value}`, it must be an integer, 0 or more"))
        })
    }
}
