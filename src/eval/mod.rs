//! The offline benchmark: what a routing policy is worth on public outcomes, and what it is not.
//!
//! Full tables of outcomes (every model's score and cost for every prompt) come in as bytes ([`table`]); splits,
//! folds and arrival orders are hashes of the rows' names, so that two programs draw the same ([`split`]). A
//! [`routers::Router`] sees the outcomes of the training rows and says what it expects of every model on the test rows;
//! [`metrics`] turn that into a cost-quality curve and compare its area with that of a coin between two fixed
//! models, which is the line anything must clear to be worth running.
//!
//! Nothing here opens a file, reads a clock or throws dice.

pub mod bars;
pub mod column;
pub mod crew;
pub mod exam;
pub mod linalg;
pub mod metrics;
pub mod new_arm;
pub mod offline;
pub mod ope;
pub mod report;
pub mod reuse;
pub mod routers;
pub mod split;
pub mod stream;
pub mod table;
