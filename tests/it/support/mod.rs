//! What several subjects need.

pub(crate) mod running;
pub(crate) mod upstream;
