//! Tests from outside: one binary, one module a subject.

mod crash;
mod dispatch;
mod encoder;
mod layers;
mod learn;
mod ledger;
mod ope;
mod policy;
mod samples;
mod simulate;
mod support;
