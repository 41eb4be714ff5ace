//! The name under which an answer is kept: a hash of everything that shapes it.
//!
//! Fields are length-prefixed before hashing, and absent and empty differ. What does not shape the answer is left
//! out: whether it is streamed, and the caller's own labels (`metadata`). `user` stays in: users of one tenant do
//! not see each other's answers unless they send the same `user`.

use super::canonical::{self, Node};
use super::gate::Bypass;
use crate::base::TenantId;
use crate::chat::{ChatRequest, Endpoint};

/// The fields of a request that do not shape the answer, or that stand in [`Scope`] in their understood form.
const LEFT_OUT: [&str; 4] = ["model", "stream", "stream_options", "metadata"];

/// The name of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 32]);

impl Key {
    /// The name whose bytes were kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads what `Display` writes: 64 hexadecimal digits. `None` if it is something else.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What shapes the answer beside the request's own body.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Whose answer it is.
    pub tenant: &'a TenantId,
    /// The models that may be chosen, by name.
    pub models: &'a [&'a str],
    /// What the caller wants of the choice, in JSON: an answer for `auto:cheap` is none for `auto:best`.
    pub preferences: &'a [u8],
    /// How often the tenant had everything forgotten: answers from before have other names.
    pub generation: u64,
}

/// The key of this request.
///
/// # Errors
/// [`Bypass::Ambiguous`] if the body names a key twice.
pub fn key(scope: &Scope<'_>, request: &ChatRequest) -> Result<Key, Bypass> {
    names(scope, request, None).map(|(key, _)| key)
}

/// The key of this request and, if the encoder is named that would compare it, its namespace: a hash of everything
/// that shapes the answer but the user's last words, and of the encoder. `None` where those words are not one text.
///
/// # Errors
/// [`Bypass::Ambiguous`] if the body names a key twice.
pub fn names(scope: &Scope<'_>, request: &ChatRequest, encoder: Option<&str>) -> Result<(Key, Option<Key>), Bypass> {
    let Some(Node::Map(mut body)) = canonical::parse(&request.body) else { return Err(Bypass::Ambiguous) };
    for field in LEFT_OUT {
        body.remove(field);
    }
    let mut node = Node::Map(body);
    let key = hash(b"pointsman exact 2", scope, request.endpoint, &node);
    let space = encoder.filter(|_| request.endpoint == Endpoint::ChatCompletions).and_then(|encoder| {
        let Node::Map(body) = &mut node else { return None };
        let Node::List(messages) = body.get_mut("messages")? else { return None };
        let Node::Map(last) = messages.last_mut()? else { return None };
        let said = last.get_mut("content")?;
        let one_text = match said {
            Node::Text(_) => true,
            Node::List(parts) => match &parts[..] {
                [Node::Map(part)] => {
                    part.len() == 2
                        && part.get("type") == Some(&Node::Text("text".to_owned()))
                        && matches!(part.get("text"), Some(Node::Text(_)))
                }
                _ => false,
            },
            _ => false,
        };
        // A word that no JSON text has: whatever is said there, it is not said in the namespace.
        *said = one_text.then_some(Node::Word("?"))?;
        body.insert("\0encoder".to_owned(), Node::Text(encoder.to_owned()));
        Some(hash(b"pointsman namespace 1", scope, request.endpoint, &node))
    });
    Ok((key, space))
}

fn hash(purpose: &[u8], scope: &Scope<'_>, endpoint: Endpoint, body: &Node<'_>) -> Key {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(purpose);
    part(scope.tenant.as_str().as_bytes());
    part(match endpoint {
        Endpoint::ChatCompletions => b"chat",
        Endpoint::Completions => b"completions",
    });
    part(&(scope.models.len() as u64).to_le_bytes());
    for model in scope.models {
        part(model.as_bytes());
    }
    part(scope.preferences);
    part(&scope.generation.to_le_bytes());
    body.feed(&mut |bytes| {
        hasher.update(bytes);
    });
    Key(*hasher.finalize().as_bytes())
}
