//! Tests from outside: one binary, one module a subject.

mod encoder;
mod layers;
mod policy;
