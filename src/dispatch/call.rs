//! One HTTP call: the request as the provider wants it, and its answer's head.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, redirect};

use super::Config;
use crate::base::Timestamp;
use crate::catalog::Deployment;
use crate::chat::{ChatRequest, Endpoint};
use crate::dialect::{Class, Fault, openai};

/// Requests in flight that one client's connection carries before the next is used: a single HTTP/2 connection
/// stalls at the peer's limit of streams, which is often 100.
const PER_CLIENT: u32 = 64;

/// The greatest number of clients.
const CLIENTS: usize = 4;

/// Longest error body that is read.
const ERROR_BODY: usize = 64 << 10;

/// Longest time an error body is waited for.
const ERROR_WAIT: Duration = Duration::from_secs(5);

/// The connections to all providers.
pub(super) struct Line {
    clients: Vec<Client>,
}

impl Line {
    pub(super) fn new(config: &Config) -> Result<Self, reqwest::Error> {
        let client = || {
            let builder = Client::builder()
                .user_agent(concat!("pointsman/", env!("CARGO_PKG_VERSION")))
                // A redirected POST loses its body, and another host must not get the key.
                .redirect(redirect::Policy::none())
                .tcp_nodelay(true)
                .tcp_keepalive(Duration::from_mins(1))
                .connect_timeout(config.connect_timeout)
                .pool_idle_timeout(Duration::from_secs(90))
                .http2_adaptive_window(true)
                .http2_keep_alive_interval(Duration::from_secs(30))
                .http2_keep_alive_timeout(Duration::from_secs(20));
            let builder = if config.proxy_from_environment { builder } else { builder.no_proxy() };
            builder.build()
        };
        Ok(Self { clients: (0..CLIENTS).map(|_| client()).collect::<Result<_, _>>()? })
    }

    /// Sends the request. `usage`: whether a stream is asked to report its usage; `ahead`: requests already in
    /// flight there. Comes back with the answer's head; time is the caller's business.
    pub(super) async fn send(
        &self,
        deployment: &Deployment,
        request: &ChatRequest,
        usage: bool,
        ahead: u32,
    ) -> Result<Response, Fault> {
        let path = match request.endpoint {
            Endpoint::ChatCompletions => "chat/completions",
            Endpoint::Completions => "completions",
        };
        let model = &deployment.upstream_model;
        let body = if usage { request.upstream_body(model) } else { request.upstream_body_without_usage(model) };
        self.post(deployment, path, body, request.view.stream, ahead).await
    }

    /// Sends these bytes to this path of the deployment.
    pub(super) async fn post(
        &self,
        deployment: &Deployment,
        path: &str,
        body: Bytes,
        stream: bool,
        ahead: u32,
    ) -> Result<Response, Fault> {
        let client = &self.clients[(ahead / PER_CLIENT) as usize % self.clients.len()];
        let url = format!("{}/{path}", deployment.base_url.trim_end_matches('/'));
        let sending = client.post(url).headers(headers(deployment, stream)?).body(body);
        sending.send().await.map_err(|error| unsent(&error))
    }
}

fn headers(deployment: &Deployment, stream: bool) -> Result<HeaderMap, Fault> {
    let mut headers = HeaderMap::with_capacity(4 + deployment.headers.len());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if stream {
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        // A compressor may hold events back.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    let unfit = |what: &str| {
        let message = format!("the {what} of deployment `{}` cannot stand in an HTTP header", deployment.id);
        Fault::new(Class::KeyDead, message)
    };
    if let Some(key) = &deployment.key {
        let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose())).map_err(|_| unfit("provider key"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    for (name, value) in &deployment.headers {
        let name = HeaderName::try_from(name).map_err(|_| unfit("header name"))?;
        headers.insert(name, HeaderValue::try_from(value).map_err(|_| unfit("header value"))?);
    }
    Ok(headers)
}

fn unsent(error: &reqwest::Error) -> Fault {
    if error.is_connect() {
        Fault::new(Class::Unreachable, "the provider cannot be reached")
    } else if error.is_timeout() {
        Fault::new(Class::Timeout, "the provider did not answer in time")
    } else if error.is_builder() {
        Fault::new(Class::Missing, "the provider's `base_url` is not an address")
    } else {
        Fault::new(Class::Protocol, "the provider closed the connection without an answer")
    }
}

/// The provider's own id of the request.
pub(super) fn request_id(response: &Response) -> Option<String> {
    let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
    header("x-request-id").or_else(|| header("request-id"))
}

/// Whether the answer is JSON rather than a stream of events.
pub(super) fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/json"))
}

/// The failure that an answer without success stands for.
pub(super) async fn refusal(response: Response, now: Timestamp) -> Fault {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = tokio::time::timeout(ERROR_WAIT, whole(response, ERROR_BODY)).await;
    // Its status says enough where its body does not come.
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    openai::refusal(status, &headers, &body, now)
}

/// The whole body, up to a limit.
pub(super) async fn whole(response: Response, limit: usize) -> Result<Bytes, Fault> {
    let mut chunks = bytes(response);
    let mut first = chunks.next().await.transpose()?.unwrap_or_default();
    let mut joined: Option<BytesMut> = None;
    while let Some(chunk) = chunks.next().await.transpose()? {
        let joined = joined.get_or_insert_with(|| BytesMut::from(&std::mem::take(&mut first)[..]));
        if joined.len() + chunk.len() > limit {
            return Err(Fault::new(Class::Protocol, format!("the provider's answer is longer than {limit} bytes")));
        }
        joined.extend_from_slice(&chunk);
    }
    Ok(joined.map_or(first, BytesMut::freeze))
}

/// The body as it comes.
pub(super) fn bytes(response: Response) -> impl Stream<Item = Result<Bytes, Fault>> + Send + Unpin {
    response.bytes_stream().map(|chunk| {
        chunk.map_err(|_| Fault::new(Class::Protocol, "the provider broke the connection in the middle of its answer"))
    })
}
