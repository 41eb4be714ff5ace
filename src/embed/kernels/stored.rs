//! A network's weights as its file has them, before they are laid out for a unit.

/// Weights and bias as they are stored: (outputs, inputs) and (outputs).
pub(in crate::embed) type Linear = (Vec<f32>, Vec<f32>);

/// Layer normalisation: gain and bias, and what is added to the variance.
pub(in crate::embed) struct Norm {
    /// Gain (width).
    pub(in crate::embed) gain: Vec<f32>,
    /// Bias (width).
    pub(in crate::embed) bias: Vec<f32>,
    /// What is added to the variance.
    pub(in crate::embed) epsilon: f32,
}

/// One layer's weights as they are stored.
pub(in crate::embed) struct Stored {
    /// Query, key and value in one (3 * width, width), the query's divided by the square root of a head's width.
    pub(in crate::embed) mix: Linear,
    /// What brings the heads together.
    pub(in crate::embed) join: Linear,
    /// After the attention.
    pub(in crate::embed) after_mix: Norm,
    /// Into the feed-forward part.
    pub(in crate::embed) up: Linear,
    /// Out of it.
    pub(in crate::embed) down: Linear,
    /// After it.
    pub(in crate::embed) after_feed: Norm,
}
