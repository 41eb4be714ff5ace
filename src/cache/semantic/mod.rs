//! Answers for prompts that mean the same: what may be reused, and how sure that is.

pub mod decision;
pub mod vetoes;
