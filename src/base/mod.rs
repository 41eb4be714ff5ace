//! What everything else is said in: amounts, names, time, chance and failure.
//!
//! Nothing here knows about requests, models or policies, and nothing here does I/O but the system clock.

pub mod clock;
pub mod duration;
pub mod error;
pub mod ids;
pub mod problem;
pub mod secret;
pub mod seed;
pub mod units;

pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use error::{Blame, Error, Kind, Retry};
pub use ids::{DecisionId, DeploymentId, Digest, ModelId, SchemaId, TenantId};
pub use problem::Problem;
pub use secret::{KeySource, Secret};
pub use seed::Seed;
pub use units::{Probability, Score, Usd};
