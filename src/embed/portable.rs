//! The network out of candle's own operations, arranged for one short text at a time.
//!
//! Against the stock model: weights are stored once as (inputs, outputs), so that a product of a few rows reads them
//! in order; query, key and value are one product, with the query's scale folded into its weights; there is no
//! padding and so no mask; the token-type vector is folded into the positions.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_nn::ops::{layer_norm, softmax_last_dim};
use candle_transformers::models::bert::Config as Shape;

/// The network; float32 throughout.
pub(super) struct Portable {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    heads: usize,
}

/// Token and position vectors, and the normalisation of their sum.
pub(super) struct Embeddings {
    words: Tensor,
    positions: Tensor,
    norm: Norm,
}

struct Layer {
    /// Query, key and value.
    mix: Linear,
    /// What the heads gave, brought together.
    join: Linear,
    after_mix: Norm,
    up: Linear,
    down: Linear,
    after_feed: Norm,
}

/// Weight (inputs, outputs) and bias.
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

/// Layer normalisation.
pub(super) struct Norm {
    pub(super) gain: Tensor,
    pub(super) bias: Tensor,
    pub(super) epsilon: f32,
}

impl Portable {
    pub(super) fn load(root: &VarBuilder<'_>, shape: &Shape) -> Result<Self> {
        let layers = (0..shape.num_hidden_layers)
            .map(|i| Layer::load(&root.pp(format!("encoder.layer.{i}")), shape))
            .collect::<Result<_>>()?;
        Ok(Self { embeddings: Embeddings::load(root, shape)?, layers, heads: shape.num_attention_heads })
    }

    /// The token vectors (tokens of all texts, width), text after text.
    pub(super) fn forward(&self, texts: &[Vec<u32>]) -> Result<Tensor> {
        let states: Vec<Tensor> = texts
            .iter()
            .map(|tokens| {
                let summed = self.embeddings.sum(std::slice::from_ref(tokens))?;
                let start = self.embeddings.norm.apply(&summed)?;
                self.layers.iter().try_fold(start, |states, layer| layer.forward(&states, self.heads))
            })
            .collect::<Result<_>>()?;
        Tensor::cat(&states, 0)
    }
}

impl Embeddings {
    pub(super) fn load(root: &VarBuilder<'_>, shape: &Shape) -> Result<Self> {
        let part = root.pp("embeddings");
        let width = shape.hidden_size;
        let kinds = part.get((shape.type_vocab_size, width), "token_type_embeddings.weight")?;
        let positions = part.get((shape.max_position_embeddings, width), "position_embeddings.weight")?;
        Ok(Self {
            words: part.get((shape.vocab_size, width), "word_embeddings.weight")?,
            positions: positions.broadcast_add(&kinds.narrow(0, 0, 1)?)?,
            norm: Norm::load(&part.pp("LayerNorm"), shape)?,
        })
    }

    /// Token plus position vectors (tokens of all texts, width), not yet normalised.
    pub(super) fn sum(&self, texts: &[Vec<u32>]) -> Result<Tensor> {
        let ids = Tensor::new(texts.concat(), &Device::Cpu)?;
        let words = self.words.index_select(&ids, 0)?;
        match texts {
            [one] => words + self.positions.narrow(0, 0, one.len())?,
            many => {
                let positions: Vec<u32> = many.iter().flat_map(|tokens| 0..tokens.len() as u32).collect();
                words + self.positions.index_select(&Tensor::new(positions, &Device::Cpu)?, 0)?
            }
        }
    }

    /// The normalisation of the sum.
    pub(super) const fn norm(&self) -> &Norm {
        &self.norm
    }
}

impl Layer {
    fn load(part: &VarBuilder<'_>, shape: &Shape) -> Result<Self> {
        let (width, inner) = (shape.hidden_size, shape.intermediate_size);
        let (weight, bias) = mix_weights(part, shape)?;
        Ok(Self {
            mix: Linear::new(&weight, bias)?,
            join: Linear::load(&part.pp("attention.output.dense"), width, width)?,
            after_mix: Norm::load(&part.pp("attention.output.LayerNorm"), shape)?,
            up: Linear::load(&part.pp("intermediate.dense"), width, inner)?,
            down: Linear::load(&part.pp("output.dense"), inner, width)?,
            after_feed: Norm::load(&part.pp("output.LayerNorm"), shape)?,
        })
    }

    fn forward(&self, states: &Tensor, heads: usize) -> Result<Tensor> {
        let mixed = self.join.apply(&self.attend(states, heads)?)?;
        let states = self.after_mix.apply(&(mixed + states)?)?;
        let fed = self.down.apply(&self.up.apply(&states)?.gelu_erf()?)?;
        self.after_feed.apply(&(fed + states)?)
    }

    fn attend(&self, states: &Tensor, heads: usize) -> Result<Tensor> {
        let (tokens, width) = states.dims2()?;
        // (tokens, 3 * width) -> (3, heads, tokens, width of a head)
        let mixed = self.mix.apply(states)?.reshape((tokens, 3, heads, width / heads))?.permute((1, 2, 0, 3))?;
        let part = |i: usize| mixed.get(i)?.contiguous();
        let scores = part(0)?.matmul(&part(1)?.t()?)?;
        let context = softmax_last_dim(&scores)?.matmul(&part(2)?)?;
        context.transpose(0, 1)?.reshape((tokens, width))
    }
}

/// Query, key and value weights (3 * width, width) and bias (3 * width), the query's already divided by the square
/// root of a head's width.
pub(super) fn mix_weights(part: &VarBuilder<'_>, shape: &Shape) -> Result<(Tensor, Tensor)> {
    let width = shape.hidden_size;
    let scale = 1.0 / ((width / shape.num_attention_heads) as f64).sqrt();
    let part = part.pp("attention.self");
    let mut weights = Vec::new();
    let mut biases = Vec::new();
    for (name, scale) in [("query", scale), ("key", 1.0), ("value", 1.0)] {
        weights.push((part.get((width, width), &format!("{name}.weight"))? * scale)?);
        biases.push((part.get(width, &format!("{name}.bias"))? * scale)?);
    }
    Ok((Tensor::cat(&weights, 0)?, Tensor::cat(&biases, 0)?))
}

impl Linear {
    /// Of a stored weight (outputs, inputs).
    fn new(stored: &Tensor, bias: Tensor) -> Result<Self> {
        Ok(Self { weight: stored.t()?.contiguous()?, bias })
    }

    fn load(part: &VarBuilder<'_>, inputs: usize, outputs: usize) -> Result<Self> {
        Self::new(&part.get((outputs, inputs), "weight")?, part.get(outputs, "bias")?)
    }

    fn apply(&self, states: &Tensor) -> Result<Tensor> {
        states.matmul(&self.weight)?.broadcast_add(&self.bias)
    }
}

impl Norm {
    pub(super) fn load(part: &VarBuilder<'_>, shape: &Shape) -> Result<Self> {
        let width = shape.hidden_size;
        let epsilon = shape.layer_norm_eps as f32;
        Ok(Self { gain: part.get(width, "weight")?, bias: part.get(width, "bias")?, epsilon })
    }

    fn apply(&self, states: &Tensor) -> Result<Tensor> {
        debug_assert_eq!(states.dim(D::Minus1)?, self.gain.elem_count());
        layer_norm(states, &self.gain, &self.bias, self.epsilon)
    }
}
