//! From what a router expects to what it is worth.
//!
//! [`many`]: a pool with costs. A sweep over what a dollar is worth gives a cost-quality curve; its area is compared
//! with that of a coin between single models and that of an oracle. [`pair`]: a weak and a strong model without costs,
//! as RouteLLM does it: the axis is the share of calls sent to the strong one.

pub mod hull;
pub mod many;
pub mod pair;

pub use hull::{Hull, Point};
pub use many::{Figures, Sweep, Yardstick};
pub use pair::{Pair, PairFigures};
