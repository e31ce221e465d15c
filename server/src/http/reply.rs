//! Answers as Go's HTTP server gives them.

use axum::body::Body;
use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, HeaderName},
};

const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Plain text without more.
pub fn bare(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    with_type(status, PLAIN, body)
}

/// Plain text that a browser must not take for anything else.
pub fn text(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = bare(status, body);
    response
        .headers_mut()
        .insert(NOSNIFF, HeaderValue::from_static("nosniff"));
    response
}

/// A body of another type.
pub fn with_type(
    status: StatusCode,
    content_type: HeaderValue,
    body: impl Into<Body>,
) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// JSON.
pub fn json(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    with_type(status, HeaderValue::from_static("application/json"), body)
}

/// No such path.
pub fn not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// Only GET is allowed.
pub fn method_not_allowed() -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET"));
    response
}
