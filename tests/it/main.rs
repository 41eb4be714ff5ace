//! Tests from outside: one binary, one module a subject.

mod arms;
mod bench;
mod binary;
mod cache;
mod cache_apart;
mod cache_killed;
mod cache_store;
mod crash;
mod dispatch;
mod encoder;
mod endurance;
mod features;
mod gateway;
mod layers;
mod learn;
mod ledger;
mod ope;
mod policy;
mod retrain;
mod reuse;
mod samples;
mod simulate;
mod support;
mod ulab;
mod versions;
