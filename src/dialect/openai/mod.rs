//! OpenAI's protocol, as OpenAI and the many who imitate it speak it.
//!
//! [`answer`] puts an answer together, from its JSON or from its chunks; [`fault`] reads what went wrong from a
//! status, headers, a body or a frame inside a stream. Both read what imitators really send: usage in a chunk
//! with an empty delta, tool calls without index, errors as strings or inside arrays, reasoning under two names.

mod answer;
mod fault;

pub use answer::{Assembly, Said, whole};
pub use fault::refusal;

#[cfg(test)]
mod tests;
