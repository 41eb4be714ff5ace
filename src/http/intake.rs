//! From an HTTP request to what the gateway is told: who calls, the body's bytes, the wishes.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header, request::Parts};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use super::errors::Failed;
use super::headers::OURS;
use crate::admission::Caller;
use crate::base::{Error, Kind};
use crate::cache::Control;
use crate::gateway::{Gateway, Wishes};

/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_mins(2);

/// Bodies that are too large are read up to this many times the limit and thrown away, so that a client that is
/// still sending can read why it is refused; then the connection is closed on it.
const DISCARD: usize = 4;

/// Who is calling.
pub(super) fn caller(gateway: &Gateway, headers: &HeaderMap) -> Result<Caller, Error> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    // Some clients of Azure's dialect send the key in a header of its own.
    let key = bearer.or_else(|| headers.get("api-key")?.to_str().ok());
    gateway.admission().identify(key)
}

/// A request with a JSON body: its head, the caller, the body.
pub(super) async fn json_body(gateway: &Gateway, request: Request<Body>) -> Result<(Parts, Caller, Bytes), Failed> {
    let (parts, body) = request.into_parts();
    let caller = caller(gateway, &parts.headers)?;
    expect_json(&parts.headers)?;
    let read = read(body, gateway.admission().max_body_bytes());
    let body = tokio::time::timeout(BODY_PATIENCE, read).await.map_err(|_| {
        let message = "the request's body did not arrive in time";
        Failed::with_status(Error::new(Kind::InvalidRequest, message), StatusCode::REQUEST_TIMEOUT)
    })??;
    Ok((parts, caller, body))
}

/// Clients that say nothing of the type are believed to send JSON; those that say another type are not.
fn expect_json(headers: &HeaderMap) -> Result<(), Failed> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let kind = kind.to_str().unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    let message = format!("the content type is `{essence}`; send `application/json`");
    Err(Failed::with_status(Error::new(Kind::InvalidRequest, message), StatusCode::UNSUPPORTED_MEDIA_TYPE))
}

async fn read(mut body: Body, limit: usize) -> Result<Bytes, Error> {
    let mut first: Option<Bytes> = None;
    let mut joined = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let broken = |_| Error::new(Kind::InvalidRequest, "the request's body broke off");
        let Ok(chunk) = frame.map_err(broken)?.into_data() else { continue };
        length += chunk.len();
        if length > limit.saturating_mul(DISCARD) {
            break;
        }
        if length > limit {
            (first, joined) = (None, BytesMut::new());
        } else if let (None, true) = (&first, joined.is_empty()) {
            first = Some(chunk);
        } else {
            joined.extend_from_slice(&first.take().unwrap_or_default());
            joined.extend_from_slice(&chunk);
        }
    }
    if length > limit {
        let message = format!("the request's body is larger than the {limit} bytes that are taken here");
        return Err(Error::new(Kind::TooLarge, message));
    }
    Ok(first.unwrap_or_else(|| joined.freeze()))
}

/// The wishes in the headers and in the body's metadata.
pub(super) fn wishes(headers: &HeaderMap, metadata: &[(String, String)]) -> Result<Wishes, Error> {
    let mut named = Vec::new();
    for (name, value) in headers {
        if let Some(wish) = name.as_str().strip_prefix(OURS) {
            let value = std::str::from_utf8(value.as_bytes())
                .map_err(|_| Error::invalid(name.as_str(), format!("{name} is not UTF-8 text")))?;
            named.push((wish, value));
        }
    }
    Wishes::read(named, metadata)
}

/// What the caller says about answers from memory.
pub(super) fn control(headers: &HeaderMap) -> Control {
    let said: Vec<&str> =
        headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()).collect();
    Control::read(&said.join(","))
}

/// Reads a JSON body into a type of ours; the error names the field.
pub(super) fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let message = format!("the body is not what is expected: {}", error.into_inner());
        Error { param: (path != ".").then_some(path), ..Error::new(Kind::InvalidRequest, message) }
    })?;
    reader.end().map_err(|_| Error::new(Kind::InvalidRequest, "there is more after the end of the JSON body"))?;
    Ok(value)
}
