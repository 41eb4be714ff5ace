//! Pointsman: one OpenAI-compatible endpoint that learns which model answers what.

pub mod admission;
pub mod app;
pub mod base;
pub mod cache;
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
