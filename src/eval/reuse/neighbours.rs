//! A stream of prompts, in numbers.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use sha2::{Digest as _, Sha256};

use super::{bits, numbers};

/// All pairs of at least this cosine are there: it is what serves, and what our own rule learns from.
const LEAST: f32 = 0.6;
/// Under it the nearest entry still matters: the published rule learns from it at any distance, and a prompt that it
/// answers becomes no entry. Which entry is the nearest depends on the order, and about half of the prompts become
/// none; so of every order so many earlier prompts are kept, the nearest.
const EARLIER: usize = 16;
/// Orders of arrival.
const ORDERS: usize = 5;

/// Prompts with their nearest others.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    /// What one answer serves: prompts of one class.
    pub class: Vec<u16>,
    /// Where the neighbours of each prompt begin in the lists below; one more than there are prompts.
    pub start: Vec<u32>,
    /// The neighbour; nearest first.
    pub to: Vec<u16>,
    /// Its cosine, in steps of 1 / 65,535.
    pub cosine: Vec<u16>,
    /// Which vetoes forbid the pair: [`bits`].
    pub veto: Vec<u8>,
    /// For each order of arrival, the prompts.
    pub orders: Vec<Vec<u16>>,
    /// For each order, the uniform draw of each place, in steps of 2^-32.
    pub dice: Vec<Vec<u32>>,
}

impl Neighbours {
    /// The numbers of these prompts. The orders are those of `sha256(seed:text)`, the draws those of
    /// `sha256(seed:u:place:text)`, so that every program that has the texts plays the same streams. Every list has
    /// `at_least` neighbours, if there are so many: 0 keeps what a play needs, more shows that it is enough.
    ///
    /// # Panics
    /// If there are not as many classes and vectors as texts, or more than 65,535.
    #[must_use]
    pub fn of(texts: &[&str], classes: &[String], vectors: &[Vec<f32>], at_least: usize) -> Self {
        assert!(texts.len() == classes.len() && texts.len() == vectors.len(), "one class and one vector a prompt");
        assert!(texts.len() < usize::from(u16::MAX), "prompts are numbered in 16 bits");
        let mut names = HashMap::new();
        let class: Vec<u16> = classes
            .iter()
            .map(|name| {
                let next = names.len() as u16;
                *names.entry(name).or_insert(next)
            })
            .collect();
        let hash = |words: String| Sha256::digest(words.as_bytes());
        let order = |seed: usize| {
            let mut order: Vec<u16> = (0..texts.len() as u16).collect();
            order.sort_by_cached_key(|i| hash(format!("{seed}:{}", texts[usize::from(*i)])));
            order
        };
        let orders: Vec<Vec<u16>> = (0..ORDERS).map(order).collect();
        let draw = |seed: usize, place: usize, prompt: u16| {
            let digest = hash(format!("{seed}:u:{place}:{}", texts[usize::from(prompt)]));
            u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
        };
        let dice = orders
            .iter()
            .enumerate()
            .map(|(seed, order)| order.iter().enumerate().map(|(place, prompt)| draw(seed, place, *prompt)).collect())
            .collect();
        let places: Vec<Vec<usize>> = orders.iter().map(|order| places(order)).collect();
        let (mut start, mut to, mut cosine, mut veto) = (vec![0], Vec::new(), Vec::new(), Vec::new());
        for (i, vector) in vectors.iter().enumerate() {
            let dot = |other: &Vec<f32>| vector.iter().zip(other).map(|(a, b)| a * b).sum::<f32>();
            let mut near: Vec<(f32, usize)> =
                vectors.iter().enumerate().filter(|(j, _)| *j != i).map(|(j, other)| (dot(other), j)).collect();
            near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let mut wanted: Vec<bool> = (0..near.len()).map(|at| at < at_least || near[at].0 >= LEAST).collect();
            for place in &places {
                let earlier = near.iter().enumerate().filter(|(_, (_, j))| place[*j] < place[i]).take(EARLIER);
                earlier.for_each(|(at, _)| wanted[at] = true);
            }
            for ((near, j), _) in near.iter().zip(wanted).filter(|(_, wanted)| *wanted) {
                to.push(*j as u16);
                cosine.push((near.clamp(0.0, 1.0) * 65_535.0).round() as u16);
                veto.push(if *near >= LEAST { bits(texts[*j], texts[i]) } else { 0 });
            }
            start.push(to.len() as u32);
        }
        Self { class, start, to, cosine, veto, orders, dice }
    }

    /// The vetoes of every pair anew, by the rules as they are now.
    ///
    /// # Panics
    /// If there are fewer texts than prompts.
    pub fn judge(&mut self, texts: &[&str]) {
        for i in 0..self.len() {
            for at in self.start[i] as usize..self.start[i + 1] as usize {
                let near = f32::from(self.cosine[at]) / 65_535.0 >= LEAST;
                self.veto[at] = if near { bits(texts[usize::from(self.to[at])], texts[i]) } else { 0 };
            }
        }
    }

    /// Prompts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.class.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.class.is_empty()
    }

    /// The neighbours of a prompt, nearest first: which, how near, forbidden by what.
    pub fn near(&self, prompt: usize) -> impl Iterator<Item = (usize, f64, u8)> {
        let at = self.start[prompt] as usize..self.start[prompt + 1] as usize;
        at.map(|i| (usize::from(self.to[i]), f64::from(self.cosine[i]) / 65_535.0, self.veto[i]))
    }

    /// The tensors as a safetensors file.
    ///
    /// # Errors
    /// If they cannot be written as one.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let short = |list: &[u16]| list.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        let long = |list: &[u32]| list.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        let (n, m) = (self.len(), self.to.len());
        let tensors = [
            ("class", Dtype::U16, vec![n], short(&self.class)),
            ("start", Dtype::U32, vec![n + 1], long(&self.start)),
            ("to", Dtype::U16, vec![m], short(&self.to)),
            ("cosine", Dtype::U16, vec![m], short(&self.cosine)),
            ("veto", Dtype::U8, vec![m], self.veto.clone()),
            ("orders", Dtype::U16, vec![self.orders.len(), n], short(&self.orders.concat())),
            ("dice", Dtype::U32, vec![self.dice.len(), n], long(&self.dice.concat())),
        ];
        let views = tensors
            .iter()
            .map(|(name, kind, shape, bytes)| Ok((*name, TensorView::new(*kind, shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|error| error.to_string())?;
        serialize(views, None).map_err(|error| error.to_string())
    }

    /// Reads [`Neighbours::to_bytes`].
    ///
    /// # Errors
    /// What is missing, or points beyond its list.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let class = numbers(&tensors, "class", u16::from_le_bytes)?;
        let n = class.len();
        let orders = numbers(&tensors, "orders", u16::from_le_bytes)?;
        let dice = numbers(&tensors, "dice", u32::from_le_bytes)?;
        let stream = Self {
            start: numbers(&tensors, "start", u32::from_le_bytes)?,
            to: numbers(&tensors, "to", u16::from_le_bytes)?,
            cosine: numbers(&tensors, "cosine", u16::from_le_bytes)?,
            veto: numbers(&tensors, "veto", |[byte]| byte)?,
            orders: orders.chunks(n.max(1)).map(<[u16]>::to_vec).collect(),
            dice: dice.chunks(n.max(1)).map(<[u32]>::to_vec).collect(),
            class,
        };
        let m = stream.to.len();
        let sound = stream.start.len() == n + 1
            && stream.start.is_sorted()
            && stream.start.last().is_some_and(|end| *end as usize == m)
            && (stream.cosine.len(), stream.veto.len()) == (m, m)
            && stream.orders.len() == stream.dice.len()
            && stream.orders.iter().zip(&stream.dice).all(|(order, dice)| (order.len(), dice.len()) == (n, n))
            && stream.to.iter().chain(stream.orders.iter().flatten()).all(|i| usize::from(*i) < n);
        if sound { Ok(stream) } else { Err("the lists do not fit together".to_owned()) }
    }
}

/// Of each prompt its place in this order.
fn places(order: &[u16]) -> Vec<usize> {
    let mut places = vec![0; order.len()];
    for (place, prompt) in order.iter().enumerate() {
        places[usize::from(*prompt)] = place;
    }
    places
}
