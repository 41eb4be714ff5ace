//! What the semantic cache's decision is worth: replayed streams of prompts of which it is known which share an answer.
//!
//! A stream comes in numbers alone ([`Neighbours`]): for every prompt its nearest others, their cosines, which vetoes
//! forbid the pair, and which prompts one answer serves. That is all that a policy for reuse sees, so the bench needs
//! no prompt's text, and the same counts come out on every machine. [`run()`] plays a stream to one [`Policy`];
//! [`Suites`] hold pairs that look alike and are not. The static threshold and the published vCache rule stand here to
//! be compared with; nothing serves by them.

mod neighbours;
mod play;
mod report;
mod suites;
mod vcache;

pub use neighbours::Neighbours;
pub use play::{Judged, Policy, Tally, Teaching, run};
pub use report::{Compliance, Line, Report, STEPS, examine};
pub use suites::{ClassCount, GATE, Suite, Suites};

use crate::cache::semantic::vetoes::{Veto, vetoes};

/// The vetoes that the reference figures were measured with, as bits of [`bits`].
pub const MEASURED: u8 = 0b00_1111;
/// All vetoes that are in force.
pub const IN_FORCE: u8 = 0b11_1111;

/// The vetoes that forbid a pair: bit `i` for `Veto::ALL[i]`.
#[must_use]
pub fn bits(stored: &str, asked: &str) -> u8 {
    let found = vetoes(stored, asked);
    Veto::ALL.iter().enumerate().filter(|(_, rule)| found.contains(rule)).map(|(at, _)| 1 << at).sum()
}

/// A tensor's numbers, little-endian, of `N` bytes each.
fn numbers<'a, const N: usize, T>(
    tensors: &'a safetensors::SafeTensors<'_>,
    name: &str,
    read: impl Fn([u8; N]) -> T + 'a,
) -> Result<Vec<T>, String> {
    let tensor = tensors.tensor(name).map_err(|error| format!("tensor `{name}`: {error}"))?;
    let (chunks, rest) = tensor.data().as_chunks::<N>();
    if !rest.is_empty() {
        return Err(format!("tensor `{name}`: expected numbers of {N} bytes"));
    }
    Ok(chunks.iter().map(|chunk| read(*chunk)).collect())
}
