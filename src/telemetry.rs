//! Tracing set-up, and the name of every metric.
