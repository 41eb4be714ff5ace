//! `POST /v1/embeddings`: the local encoder under the name [`LOCAL_MODEL`]; any other model goes to its deployment.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Request, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::{Value, json};

use super::errors::Failed;
use super::intake;
use crate::base::{Error, Kind};
use crate::embed::{DIMENSIONS, Embedder, Origin};
use crate::features::tokens::Vocabulary;
use crate::gateway::{EmbeddingInput as Input, Gateway};

/// The name under which the local encoder is asked for.
pub const LOCAL_MODEL: &str = "local/all-MiniLM-L6-v2";

/// How long one text may wait for the encoder here, off the path of decisions.
const WAIT: Duration = Duration::from_secs(30);
/// Texts in one request.
const MOST_TEXTS: usize = 2_048;
/// Texts of one request that are with the encoder at once; the rest of its queue is for others.
const AT_ONCE: usize = 8;

#[derive(Deserialize)]
struct Wire {
    model: String,
    input: Input,
    #[serde(default)]
    encoding_format: Format,
    dimensions: Option<usize>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Float,
    Base64,
}

/// Vectors.
pub(super) async fn embeddings(
    State(gateway): State<Arc<Gateway>>,
    request: Request<Body>,
) -> Result<Response, Failed> {
    #[derive(Deserialize)]
    struct Head {
        model: String,
    }
    let (_, caller, body) = intake::json_body(&gateway, request).await?;
    let head: Head = intake::parse(&body)?;
    if head.model != LOCAL_MODEL {
        let bytes = gateway.embed_upstream(caller, &head.model, body).await?;
        return Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes).into_response());
    }
    let _ticket = gateway.admission().admit(caller)?;
    let wire: Wire = intake::parse(&body).map_err(|error| match error.param.as_deref() {
        Some("input") => Error::invalid("input", "expected a text, a list of texts, or tokens of cl100k_base"),
        _ => error,
    })?;
    Ok(Json(local(gateway.embedder().as_ref(), wire).await?).into_response())
}

async fn local(embedder: &dyn Embedder, wire: Wire) -> Result<Value, Error> {
    if wire.dimensions.is_some_and(|asked| asked != DIMENSIONS) {
        return Err(Error::invalid("dimensions", format!("{} has {DIMENSIONS} dimensions", wire.model)));
    }
    let texts = texts(wire.input)?;
    let tokens: usize = texts.iter().map(|text| Vocabulary::Cl100k.count(text)).sum();
    let waiting: Vec<_> = texts.iter().map(|text| vector(embedder, text)).collect();
    let vectors: Vec<Arc<[f32]>> = futures::stream::iter(waiting).buffered(AT_ONCE).try_collect().await?;
    let data: Vec<Value> = vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| json!({"object": "embedding", "index": index, "embedding": encode(vector, wire.encoding_format)}))
        .collect();
    // Counted in the vocabulary that clients of this route use; the encoder's own word pieces are a little more.
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(json!({"object": "list", "data": data, "model": wire.model, "usage": usage}))
}

async fn vector(embedder: &dyn Embedder, text: &str) -> Result<Arc<[f32]>, Error> {
    match embedder.embed(text, WAIT).await {
        Some(embedding) if embedding.origin == Origin::Encoder => Ok(embedding.vector),
        // A hashed vector under the encoder's name would be a lie.
        Some(_) => {
            Err(Error::new(Kind::NoEligibleDeployment, "the local encoder is switched off in the configuration"))
        }
        None => Err(Error::new(Kind::Overloaded, "the local encoder is loading, or has more to do than it takes on")
            .with_retry_after(Some(Duration::from_secs(2)))),
    }
}

fn encode(vector: &[f32], format: Format) -> Value {
    match format {
        Format::Float => vector.iter().map(|number| f64::from(*number)).collect(),
        Format::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            BASE64_STANDARD.encode(bytes).into()
        }
    }
}

fn texts(input: Input) -> Result<Vec<String>, Error> {
    let texts = match input {
        Input::Text(text) => vec![text],
        Input::Texts(texts) => texts,
        Input::Tokens(tokens) => vec![decode(&tokens)?],
        Input::TokenLists(lists) => lists.iter().map(|tokens| decode(tokens)).collect::<Result<_, _>>()?,
    };
    if texts.is_empty() || texts.len() > MOST_TEXTS {
        return Err(Error::invalid("input", format!("expected 1 to {MOST_TEXTS} texts, got {}", texts.len())));
    }
    match texts.iter().position(String::is_empty) {
        Some(index) => Err(Error::invalid(format!("input[{index}]"), "a text must not be empty")),
        None => Ok(texts),
    }
}

/// The text of tokens of `cl100k_base`: what clients send that count before they ask.
fn decode(tokens: &[u32]) -> Result<String, Error> {
    const VOCABULARY: u32 = 100_256;
    let known = tokens.iter().all(|token| *token < VOCABULARY);
    known.then(|| bpe_openai::cl100k_base().decode(tokens)).flatten().ok_or_else(|| {
        Error::invalid("input", "the tokens are not those of a text in cl100k_base; send the text instead")
    })
}
