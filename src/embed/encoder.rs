//! Text to vector: tokenise, run the network, average, normalise.
//!
//! The same network is computed in one of several [`Form`]s; they differ in speed, and in the last digits. Which
//! one serves is decided once, at load time, by what the processor has ([`Form::choose`]), so the binary itself
//! needs no particular processor. All of them are held to the reference by the same test.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config as Shape, HiddenAct};
use rayon::prelude::*;
use serde::Deserialize;
use tokenizers::{Tokenizer, TruncationParams};

use super::fast::Fast;
use super::kernels::Pass;
use super::portable::Portable;
use super::sources::{self, Files};
use super::text::cut;
use super::{Config, DIMENSIONS, LoadError, Precision, Progress, Step, Unit};

/// How the network is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Kernels for this vector unit.
    Kernels(Unit),
    /// candle's own operations, arranged for one short text; any processor, exact.
    Portable,
    /// The stock model of candle-transformers: any BERT, exact, slow; what the others are measured against.
    Stock,
}

impl Form {
    /// Every form that this processor can compute this network in, the preferred one first.
    fn available(shape: &Shape) -> Vec<Self> {
        let mut forms = Vec::new();
        if shape.hidden_act == HiddenAct::Gelu {
            let head = shape.hidden_size / shape.num_attention_heads;
            let units = Unit::available(shape.hidden_size, shape.intermediate_size, head);
            forms.extend(units.into_iter().map(Self::Kernels));
            forms.push(Self::Portable);
        }
        forms.push(Self::Stock);
        forms
    }

    /// Every form that this processor can compute these files' network in, the preferred one first.
    ///
    /// # Errors
    /// If the files are not those of a network that this version can run, with a sentence.
    pub fn of_files(files: &Files) -> Result<Vec<Self>, String> {
        read_shape(&files.config).map(|shape| Self::available(&shape))
    }

    /// The fastest available form of the asked precision.
    fn choose(shape: &Shape, precision: Precision) -> Result<Self, String> {
        let found = Self::available(shape).into_iter().find(|form| match precision {
            Precision::Auto => true,
            Precision::F32 => form.is_exact(),
            Precision::Bf16 => !form.is_exact(),
        });
        found.ok_or_else(|| {
            "precision = \"bf16\" needs a processor with AVX-512 BF16, which this one is not; use \"auto\"".to_owned()
        })
    }

    /// Whether all of its arithmetic is in single precision.
    #[must_use]
    pub const fn is_exact(self) -> bool {
        match self {
            Self::Kernels(Unit::Avx512Bf16) => false,
            Self::Kernels(Unit::Avx512 | Unit::Avx2) | Self::Portable | Self::Stock => true,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernels(unit) => unit.fmt(f),
            Self::Portable => f.write_str("portable f32"),
            Self::Stock => f.write_str("stock f32"),
        }
    }
}

/// Why a text got no vector; a fault, not a matter of time.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The tokenizer refused the text.
    #[error("the text cannot be tokenised: {0}")]
    Tokens(#[source] tokenizers::Error),
    /// The network failed.
    #[error("the encoder failed: {0}")]
    Network(#[from] candle_core::Error),
}

/// The network in the form that was chosen.
enum Network {
    Fast(Fast),
    Portable(Portable),
    Stock(Box<BertModel>),
}

/// How token vectors become the text's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pooling {
    Mean,
    First,
}

/// A loaded encoder. Shared by threads; every call computes on the thread that makes it.
pub struct Encoder {
    tokenizer: Tokenizer,
    network: Network,
    pooling: Pooling,
    form: Form,
    id: String,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("id", &self.id).field("form", &self.form).finish_non_exhaustive()
    }
}

impl Encoder {
    /// Finds the files and loads them. Blocks, for as long as a download takes if there is one.
    ///
    /// # Errors
    /// If no place has the files, or they are not an encoder that this version can run.
    pub fn load(config: &Config, progress: &Progress) -> Result<Self, LoadError> {
        let files = sources::find(config, progress)?;
        let encoder = Self::of(&files, config, None)?;
        progress(&Step::Loaded(format!("{} from {}, {}", encoder.id, files.place, encoder.form)));
        Ok(encoder)
    }

    /// Makes an encoder of these files, in this form or, with `None`, the preferred one of the asked precision.
    ///
    /// # Errors
    /// If the files are not an encoder that this version can run in that form.
    pub fn of(files: &Files, config: &Config, form: Option<Form>) -> Result<Self, LoadError> {
        let unfit = |reason: String| LoadError::Unfit { model: config.model.clone(), reason };
        let shape = read_shape(&files.config).map_err(unfit)?;
        let pooling = files.pooling.as_deref().map_or(Ok(Pooling::Mean), read_pooling).map_err(unfit)?;
        let form = match form {
            Some(form) if !Form::available(&shape).contains(&form) => {
                return Err(unfit(format!("this processor cannot compute it as {form}")));
            }
            Some(form) => form,
            None => Form::choose(&shape, config.precision).map_err(unfit)?,
        };
        let max_tokens = config.max_tokens.min(shape.max_position_embeddings);
        let tokenizer = read_tokenizer(&files.tokenizer, max_tokens).map_err(unfit)?;
        let network = read_network(&files.weights, &shape, form).map_err(|e| {
            // candle appends a backtrace where the environment asks for one; the sentence is its first line.
            let said = e.to_string();
            let sentence = said.lines().next().unwrap_or_default();
            unfit(format!("model.safetensors does not hold the network that config.json describes: {sentence}"))
        })?;
        Ok(Self { tokenizer, network, pooling, form, id: config.id() })
    }

    /// Name and version: [`Config::id`].
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How the network is computed.
    #[must_use]
    pub const fn form(&self) -> Form {
        self.form
    }

    /// The tokens of this text with the two that mark its ends; of a long text those of its head.
    ///
    /// # Errors
    /// If the tokenizer refuses the text.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, EncodeError> {
        let encoding = self.tokenizer.encode_fast(cut(text).as_ref(), true).map_err(EncodeError::Tokens)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The unit vectors of these tokenised texts, [`DIMENSIONS`] numbers each. One pass over the weights for all of
    /// them, on this thread; worth it for short texts only.
    ///
    /// # Errors
    /// If the network fails.
    pub fn forward(&self, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EncodeError> {
        self.forward_with(texts, &|_| ())
    }

    /// As [`Encoder::forward`], and where the form allows it the pass is shown to `invite` before the work begins:
    /// other threads that get it there may [help](Encoder::help). The vectors are the same to the last bit.
    pub(super) fn forward_with(
        &self,
        texts: &[Vec<u32>],
        invite: &dyn Fn(&Arc<Pass>),
    ) -> Result<Vec<Vec<f32>>, EncodeError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let states = match &self.network {
            Network::Fast(network) => network.forward(texts, invite)?,
            Network::Portable(network) => network.forward(texts)?,
            Network::Stock(network) => stock(network, texts)?,
        };
        let width = states.dim(1)?;
        let states = states.flatten_all()?.to_vec1::<f32>()?;
        let mut rest = states.as_slice();
        Ok(texts
            .iter()
            .map(|tokens| {
                let (of_text, later) = rest.split_at(tokens.len() * width);
                rest = later;
                self.pool(of_text, width)
            })
            .collect())
    }

    /// Works at a pass that another thread began with this encoder, until it is over.
    pub(super) fn help(&self, pass: &Pass) {
        if let Network::Fast(network) = &self.network {
            network.help(pass);
        }
    }

    /// The unit vector of token vectors of this width, padded with zeros to [`DIMENSIONS`]: that changes no angle.
    fn pool(&self, states: &[f32], width: usize) -> Vec<f32> {
        let mut vector = vec![0.0; DIMENSIONS];
        let pooled = match self.pooling {
            Pooling::Mean => states,
            Pooling::First => &states[..width],
        };
        for state in pooled.chunks_exact(width) {
            vector.iter_mut().zip(state).for_each(|(sum, x)| *sum += x);
        }
        // The mean's divisor falls away in the normalisation.
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        vector.iter_mut().for_each(|x| *x /= length);
        vector
    }

    /// The unit vectors of these texts, in their order, computed on all cores. For offline work; requests go
    /// through [`super::Workers`].
    ///
    /// # Errors
    /// If any text cannot be encoded.
    pub fn embed_batch(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EncodeError> {
        // A text is a task; what candle splits further stays in the same pool.
        texts.par_iter().map(|text| Ok(self.forward(&[self.tokens(text)?])?.swap_remove(0))).collect()
    }
}

/// The network's shape from `config.json`, if this version can run it.
fn read_shape(bytes: &[u8]) -> Result<Shape, String> {
    let shape: Shape = serde_json::from_slice(bytes).map_err(|e| format!("config.json is not that of a BERT: {e}"))?;
    if let Some(kind) = shape.model_type.as_deref().filter(|kind| *kind != "bert") {
        return Err(format!("config.json says model_type {kind:?}; this version runs \"bert\" only"));
    }
    if shape.hidden_size > DIMENSIONS {
        return Err(format!(
            "its vectors have {} numbers; this version works with {DIMENSIONS} at most (fewer are padded with zeros)",
            shape.hidden_size
        ));
    }
    if shape.num_attention_heads == 0 || !shape.hidden_size.is_multiple_of(shape.num_attention_heads) {
        return Err(format!("{} heads do not divide its width of {}", shape.num_attention_heads, shape.hidden_size));
    }
    Ok(shape)
}

/// How token vectors become one, from `1_Pooling/config.json`.
fn read_pooling(bytes: &[u8]) -> Result<Pooling, String> {
    #[derive(Deserialize)]
    struct Modes {
        #[serde(default)]
        pooling_mode_cls_token: bool,
        #[serde(default)]
        pooling_mode_mean_tokens: bool,
    }
    let modes: Modes = serde_json::from_slice(bytes).map_err(|e| format!("1_Pooling/config.json: {e}"))?;
    match (modes.pooling_mode_mean_tokens, modes.pooling_mode_cls_token) {
        (true, false) => Ok(Pooling::Mean),
        (false, true) => Ok(Pooling::First),
        _ => Err("1_Pooling/config.json asks for neither the mean nor the first token alone".to_owned()),
    }
}

/// The tokenizer as the reference uses it: what its file says of padding and length (128) is not what the model was
/// used with.
fn read_tokenizer(bytes: &[u8], max_tokens: usize) -> Result<Tokenizer, String> {
    let wrong = |e: tokenizers::Error| format!("tokenizer.json: {e}");
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(wrong)?;
    let truncation = TruncationParams { max_length: max_tokens, ..TruncationParams::default() };
    tokenizer.with_padding(None).with_truncation(Some(truncation)).map_err(wrong)?;
    Ok(tokenizer)
}

fn read_network(weights: &[u8], shape: &Shape, form: Form) -> candle_core::Result<Network> {
    let tensors: HashMap<String, Tensor> = candle_core::safetensors::load_buffer(weights, &Device::Cpu)?;
    let inside = tensors.contains_key("bert.embeddings.word_embeddings.weight");
    let root = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let root = if inside { root.pp("bert") } else { root };
    Ok(match form {
        Form::Kernels(unit) => Network::Fast(Fast::load(&root, shape, unit)?),
        Form::Portable => Network::Portable(Portable::load(&root, shape)?),
        Form::Stock => Network::Stock(Box::new(BertModel::load(root, shape)?)),
    })
}

/// The stock model's token vectors, text after text.
fn stock(model: &BertModel, texts: &[Vec<u32>]) -> candle_core::Result<Tensor> {
    let states: Vec<Tensor> = texts
        .iter()
        .map(|tokens| {
            let ids = Tensor::new(tokens.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
            model.forward(&ids, &ids.zeros_like()?, None)?.squeeze(0)
        })
        .collect::<candle_core::Result<_>>()?;
    Tensor::cat(&states, 0)
}
