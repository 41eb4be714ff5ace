//! What several subjects need.

pub(crate) mod upstream;
