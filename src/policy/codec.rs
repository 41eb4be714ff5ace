//! The state as bytes, exactly: the same state gives the same bytes, and every bit comes back.
//!
//! Little-endian throughout. `"POINTPOL"`, format (u16), schema (text), rows (u64), then the four pools: latest
//! half-life in hours (u32), latest epoch (u64), number of keys (u32), and for each key its name (text) and its
//! sums (f64); the watches, their number (u32) and for each its model (text), answers, squares and sum (f64), the
//! decision since which it is above zero (u64), number of changes (u32) and their times (u64), whether it has sums of
//! its own (u8) and these (f64); at the end the first 16 bytes of the BLAKE3 hash of all before. A text is its length
//! (u32) and UTF-8. Of the settings only the half-lives are in it: only they shape the sums.

use std::collections::BTreeMap;

use super::Config;
use super::forgetting::Forgetting;
use super::state::{Pool, State, StateError};
use super::sums::Sums;
use super::watch::Watch;
use crate::base::{DeploymentId, Digest, ModelId, SchemaId, Timestamp};
use crate::features::CONTEXT;

const MAGIC: &[u8; 8] = b"POINTPOL";
const FORMAT: u16 = 3;

impl State {
    /// The bytes of this state.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(FORMAT.to_le_bytes());
        put_text(&mut out, self.schema.as_str());
        out.extend(self.rows.to_le_bytes());
        put_pool(&mut out, &self.quality, ModelId::as_str);
        put_pool(&mut out, &self.tokens, ModelId::as_str);
        put_pool(&mut out, &self.first_token, DeploymentId::as_str);
        put_pool(&mut out, &self.total, DeploymentId::as_str);
        put_watches(&mut out, &self.watches);
        let checksum = Digest::of(&out);
        out.extend(checksum.as_bytes());
        out
    }

    /// The state of these bytes, to go on under this configuration and schema.
    ///
    /// # Errors
    /// If the bytes are damaged, of another format, learned on another feature map or with other half-lives.
    pub fn from_bytes(bytes: &[u8], config: Config, schema: &SchemaId) -> Result<Self, StateError> {
        let damaged = StateError::Damaged;
        let body = bytes.strip_prefix(MAGIC).ok_or(damaged("it does not begin with POINTPOL"))?;
        let (format, _) = body.split_first_chunk().ok_or(damaged("it ends within its header"))?;
        let format = u16::from_le_bytes(*format);
        if format != FORMAT {
            return Err(StateError::Format { found: format, expected: FORMAT });
        }
        let (content, checksum) = bytes.split_last_chunk::<16>().ok_or(damaged("it ends within its header"))?;
        if Digest::of(content).as_bytes() != checksum {
            return Err(damaged("its checksum does not fit"));
        }
        let mut input = Input(&content[MAGIC.len() + 2..]);
        let found = SchemaId::from(input.text()?);
        if found != *schema {
            return Err(StateError::Schema { found, expected: schema.clone() });
        }
        let mut state = Self::new(config, found);
        state.rows = u64::from_le_bytes(*input.take()?);
        get_pool(&mut input, &mut state.quality)?;
        get_pool(&mut input, &mut state.tokens)?;
        get_pool(&mut input, &mut state.first_token)?;
        get_pool(&mut input, &mut state.total)?;
        state.watches = get_watches(&mut input)?;
        if input.0.is_empty() { Ok(state) } else { Err(damaged("something stands after its end")) }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_pool<K: Ord>(out: &mut Vec<u8>, pool: &Pool<K>, name: impl Fn(&K) -> &str) {
    out.extend(pool.forgetting.half_life().to_le_bytes());
    out.extend(pool.forgetting.epoch().to_le_bytes());
    out.extend((pool.sums.len() as u32).to_le_bytes());
    for (key, sums) in &pool.sums {
        put_text(out, name(key));
        sums.numbers().for_each(|number| out.extend(number.to_le_bytes()));
    }
}

fn get_pool<K: Ord + Clone + for<'a> From<&'a str>>(
    input: &mut Input<'_>,
    pool: &mut Pool<K>,
) -> Result<(), StateError> {
    if u32::from_le_bytes(*input.take()?) != pool.forgetting.half_life() {
        return Err(StateError::HalfLife);
    }
    let epoch = u64::from_le_bytes(*input.take()?);
    pool.forgetting = Forgetting::at(pool.forgetting.half_life(), epoch);
    for _ in 0..u32::from_le_bytes(*input.take()?) {
        let key = K::from(input.text()?);
        let mut sums = Sums::new(pool.dimensions);
        for number in sums.numbers_mut() {
            *number = f64::from_le_bytes(*input.take()?);
        }
        pool.sums.insert(key, sums);
    }
    Ok(())
}

fn put_watches(out: &mut Vec<u8>, watches: &BTreeMap<ModelId, Watch>) {
    out.extend((watches.len() as u32).to_le_bytes());
    for (model, watch) in watches {
        put_text(out, model.as_str());
        [watch.answers, watch.squares, watch.sum].iter().for_each(|number| out.extend(number.to_le_bytes()));
        out.extend(watch.since.0.to_le_bytes());
        out.extend((watch.changes.len() as u32).to_le_bytes());
        watch.changes.iter().for_each(|change| out.extend(change.0.to_le_bytes()));
        out.push(u8::from(watch.recent.is_some()));
        let recent = watch.recent.iter().flat_map(Sums::numbers);
        recent.for_each(|number| out.extend(number.to_le_bytes()));
    }
}

fn get_watches(input: &mut Input<'_>) -> Result<BTreeMap<ModelId, Watch>, StateError> {
    let mut watches = BTreeMap::new();
    for _ in 0..u32::from_le_bytes(*input.take()?) {
        let model = ModelId::from(input.text()?);
        let mut watch = Watch::default();
        for number in [&mut watch.answers, &mut watch.squares, &mut watch.sum] {
            *number = f64::from_le_bytes(*input.take()?);
        }
        watch.since = Timestamp(u64::from_le_bytes(*input.take()?));
        for _ in 0..u32::from_le_bytes(*input.take()?) {
            watch.changes.push(Timestamp(u64::from_le_bytes(*input.take()?)));
        }
        if *input.take()? != [0] {
            let mut recent = Sums::new(CONTEXT);
            for number in recent.numbers_mut() {
                *number = f64::from_le_bytes(*input.take()?);
            }
            watch.recent = Some(recent);
        }
        watches.insert(model, watch);
    }
    Ok(watches)
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], StateError> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(StateError::Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(chunk)
    }

    fn text(&mut self) -> Result<&'a str, StateError> {
        let length = u32::from_le_bytes(*self.take()?) as usize;
        let (text, rest) = self.0.split_at_checked(length).ok_or(StateError::Damaged("it ends too early"))?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| StateError::Damaged("a name in it is not UTF-8"))
    }
}
