//! Routes that clients find under a path of a proxy.

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use tower::ServiceBuilder;
use tower::util::MapRequestLayer;

use crate::door::Prefix;

/// Returns the routes under a proxy's path, whether the proxy strips the path or not.
pub fn under(root_path: &str, router: Router) -> Router {
    let prefix = Prefix(root_path.trim_end_matches('/').to_owned());
    if prefix.0.is_empty() {
        return router;
    }
    let strip = MapRequestLayer::new(move |mut request: Request| {
        if let Some(uri) = without(&prefix.0, request.uri()) {
            *request.uri_mut() = uri;
        }
        request.extensions_mut().insert(prefix.clone());
        request
    });
    Router::new().fallback_service(ServiceBuilder::new().layer(strip).service(router))
}

/// Returns the path behind the prefix, if it is there.
fn without(prefix: &str, uri: &Uri) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(prefix)?;
    if !rest.is_empty() && !rest.starts_with(['/', '?']) {
        return None;
    }
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(rest).ok()?);
    Uri::from_parts(parts).ok()
}
