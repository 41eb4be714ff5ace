//! The network with its layers in the processor's vector unit; candle looks up the vectors they start from.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape as Dimensions, Tensor, bail};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::Config as Shape;

use super::kernels::{self, Kernels, Pass, Stored, Unit};
use super::portable::{Embeddings, Norm, mix_weights};

/// The network, laid out for a unit.
pub(super) struct Fast {
    embeddings: Embeddings,
    kernels: Kernels,
}

impl Fast {
    pub(super) fn load(root: &VarBuilder<'_>, shape: &Shape, unit: Unit) -> Result<Self> {
        let embeddings = Embeddings::load(root, shape)?;
        let stored: Vec<Stored> = (0..shape.num_hidden_layers)
            .map(|i| stored(&root.pp(format!("encoder.layer.{i}")), shape))
            .collect::<Result<_>>()?;
        let start = plain(embeddings.norm())?;
        let Some(kernels) = Kernels::new(unit, start, stored.into_iter()) else {
            bail!("the processor has no {unit}");
        };
        Ok(Self { embeddings, kernels })
    }

    /// The token vectors (tokens of all texts, width), text after text. Whoever gets the pass by `invite` may
    /// [help](Fast::help).
    pub(super) fn forward(&self, texts: &[Vec<u32>], invite: &dyn Fn(&Arc<Pass>)) -> Result<Tensor> {
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        self.embeddings.sum(texts)?.apply_op1_no_bwd(&Layers { kernels: &self.kernels, lengths: &lengths, invite })
    }

    /// Works at a pass that another thread began, until it is over.
    pub(super) fn help(&self, pass: &Pass) {
        self.kernels.work(pass);
    }
}

/// All layers over texts of these lengths, as an operation of candle's.
struct Layers<'a> {
    kernels: &'a Kernels,
    lengths: &'a [usize],
    invite: &'a dyn Fn(&Arc<Pass>),
}

impl CustomOp1 for Layers<'_> {
    fn name(&self) -> &'static str {
        "encoder-layers"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Dimensions)> {
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("the token vectors are not contiguous") };
        let mut states = storage.as_slice::<f32>()?[start..end].to_vec();
        self.kernels.run(&mut states, self.lengths, self.invite);
        Ok((CpuStorage::F32(states), layout.shape().clone()))
    }
}

fn stored(part: &VarBuilder<'_>, shape: &Shape) -> Result<Stored> {
    let (width, inner) = (shape.hidden_size, shape.intermediate_size);
    let linear = |name: &str, inputs: usize, outputs: usize| -> Result<kernels::Linear> {
        let part = part.pp(name);
        Ok((numbers(&part.get((outputs, inputs), "weight")?)?, numbers(&part.get(outputs, "bias")?)?))
    };
    let (weight, bias) = mix_weights(part, shape)?;
    Ok(Stored {
        mix: (numbers(&weight)?, numbers(&bias)?),
        join: linear("attention.output.dense", width, width)?,
        after_mix: plain(&Norm::load(&part.pp("attention.output.LayerNorm"), shape)?)?,
        up: linear("intermediate.dense", width, inner)?,
        down: linear("output.dense", inner, width)?,
        after_feed: plain(&Norm::load(&part.pp("output.LayerNorm"), shape)?)?,
    })
}

fn plain(norm: &Norm) -> Result<kernels::Norm> {
    Ok(kernels::Norm { gain: numbers(&norm.gain)?, bias: numbers(&norm.bias)?, epsilon: norm.epsilon })
}

fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}
