//! Answers for prompts that mean the same: what may be reused, and how sure that is.

pub mod asking;
pub mod compare;
pub mod decision;
pub mod gate;
pub mod index;
#[expect(unsafe_code, reason = "vector instructions, measured and kept in one folder")]
mod kernels;
mod planes;
pub mod quantised;
pub mod space;
pub mod standing;
pub mod vetoes;

pub use kernels::Unit;
