//! Pointsman: one OpenAI-compatible endpoint that learns which model answers what.
//!
//! A request comes in by [`http`], is let in by [`admission`], looked up in the [`cache`], turned into a vector by
//! [`embed`] and into a context by [`features`]; the [`policy`] says every candidate's probability, a logged seed draws
//! one, [`dispatch`] calls it in the provider's own [`dialect`], and the answer streams back. [`gateway`] knows that
//! sequence and nobody else does. What happened goes into the [`ledger`]; [`learn`] folds it into what the policy
//! believes. What the cache remembers is sealed on disk by [`cache_store`]. [`eval`] asks the same of tables and logs.
//!
//! Two ideas carry the house. *Import order is request order*: a room imports only what stands before it on the path
//! (`tests/it/layers.rs` draws who may import whom). *Policy state = fold(snapshot, ledger events)*: serving, recovery
//! and replay run the same [`learn::fold()`] and come to the same bits.
//!
//! [`base`], [`chat`] and [`catalog`] are the words all of it is said in; [`config`] and [`app`] put the parts together;
//! [`cli`] is the binary; [`simulate`] stands in for providers where there are none.

pub mod admission;
pub mod app;
pub mod base;
pub mod cache;
pub mod cache_store;
pub mod catalog;
pub mod chat;
pub mod cli;
pub mod config;
pub mod dialect;
pub mod dispatch;
pub mod embed;
pub mod eval;
pub mod features;
pub mod gateway;
pub mod http;
pub mod learn;
pub mod ledger;
pub mod policy;
pub mod simulate;
pub mod telemetry;
