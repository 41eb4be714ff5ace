//! Pairs of prompts that look alike: which may share an answer, and what the gate and the vetoes say of them.

use std::collections::{BTreeMap, HashMap};

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::Serialize;

use super::numbers;
use crate::cache::semantic::vetoes::Veto;

/// Pairs that are nearer than this would be reused by a usual static threshold.
const NEAR: f64 = 0.85;
/// The bit of the gate, above those of the vetoes.
pub const GATE: u8 = 1 << 7;

/// One suite of pairs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suite {
    /// Names of its classes.
    pub classes: Vec<String>,
    /// The class of each pair.
    pub class: Vec<u8>,
    /// Its cosine.
    pub cosine: Vec<f32>,
    /// Whether one answer serves both.
    pub same: Vec<bool>,
    /// The vetoes that forbid it ([`super::bits`]), and [`GATE`] if the gate lets either prompt not through.
    pub forbidden: Vec<u8>,
}

/// All suites, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suites(pub BTreeMap<String, Suite>);

/// What happens to the pairs of one class that a threshold of .85 would reuse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// The suite.
    pub suite: String,
    /// The class.
    pub class: String,
    /// Pairs at .85 and more that must not share an answer.
    pub wrong: usize,
    /// Of these, not forbidden by a veto.
    pub past_vetoes: usize,
    /// Of those, let through by the gate as well.
    pub past_gate: usize,
    /// Pairs at .85 and more that may share an answer.
    pub right: usize,
    /// Of these, lost to a veto.
    pub lost_to_vetoes: usize,
    /// Of these, lost to a veto or the gate.
    pub lost: usize,
    /// How many pairs each rule forbids that must not be shared, and that might.
    pub by_rule: BTreeMap<&'static str, (usize, usize)>,
}

impl Suites {
    /// What happens to every class of every suite; and to every suite as a whole, under the class `all`.
    #[must_use]
    pub fn counts(&self) -> Vec<ClassCount> {
        let mut all = Vec::new();
        for (name, suite) in &self.0 {
            let mut whole = ClassCount { suite: name.clone(), class: "all".to_owned(), ..ClassCount::default() };
            let mut classes: Vec<ClassCount> = suite
                .classes
                .iter()
                .map(|class| ClassCount { suite: name.clone(), class: class.clone(), ..ClassCount::default() })
                .collect();
            for i in 0..suite.class.len() {
                if f64::from(suite.cosine[i]) < NEAR {
                    continue;
                }
                let class = &mut classes[usize::from(suite.class[i])];
                for count in [class, &mut whole] {
                    count.add(suite.same[i], suite.forbidden[i]);
                }
            }
            all.push(whole);
            all.extend(classes.into_iter().filter(|count| count.wrong + count.right > 0));
        }
        all
    }

    /// The suites as a safetensors file; the classes' names stand in its metadata.
    ///
    /// # Errors
    /// If they cannot be written as one.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let mut tensors = Vec::new();
        let mut names = HashMap::new();
        for (name, suite) in &self.0 {
            let n = suite.class.len();
            let cosine = suite.cosine.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
            let same = suite.same.iter().map(|same| u8::from(*same)).collect();
            tensors.push((format!("{name}.class"), Dtype::U8, vec![n], suite.class.clone()));
            tensors.push((format!("{name}.cosine"), Dtype::F32, vec![n], cosine));
            tensors.push((format!("{name}.same"), Dtype::U8, vec![n], same));
            tensors.push((format!("{name}.forbidden"), Dtype::U8, vec![n], suite.forbidden.clone()));
            names.insert(name.clone(), suite.classes.join("\n"));
        }
        let views = tensors
            .iter()
            .map(|(name, kind, shape, bytes)| Ok((name, TensorView::new(*kind, shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|error| error.to_string())?;
        serialize(views, Some(names)).map_err(|error| error.to_string())
    }

    /// Reads [`Suites::to_bytes`].
    ///
    /// # Errors
    /// What is missing or does not fit together.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (_, head) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let mut suites = BTreeMap::new();
        for (name, classes) in head.metadata().iter().flatten() {
            let suite = Suite {
                classes: classes.split('\n').map(str::to_owned).collect(),
                class: numbers(&tensors, &format!("{name}.class"), |[byte]| byte)?,
                cosine: numbers(&tensors, &format!("{name}.cosine"), f32::from_le_bytes)?,
                same: numbers(&tensors, &format!("{name}.same"), |[byte]| byte == 1)?,
                forbidden: numbers(&tensors, &format!("{name}.forbidden"), |[byte]| byte)?,
            };
            let n = suite.class.len();
            let sound = (suite.cosine.len(), suite.same.len(), suite.forbidden.len()) == (n, n, n)
                && suite.class.iter().all(|class| usize::from(*class) < suite.classes.len());
            if !sound {
                return Err(format!("the lists of suite `{name}` do not fit together"));
            }
            suites.insert(name.clone(), suite);
        }
        Ok(Self(suites))
    }
}

impl ClassCount {
    fn add(&mut self, same: bool, forbidden: u8) {
        let vetoed = forbidden & super::IN_FORCE != 0;
        let gated = forbidden & GATE != 0;
        if same {
            self.right += 1;
            self.lost_to_vetoes += usize::from(vetoed);
            self.lost += usize::from(vetoed || gated);
        } else {
            self.wrong += 1;
            self.past_vetoes += usize::from(!vetoed);
            self.past_gate += usize::from(!vetoed && !gated);
        }
        for (at, rule) in Veto::ALL.iter().enumerate() {
            let (wrong, right) = self.by_rule.entry(rule.name()).or_default();
            let fires = usize::from(forbidden & 1 << at != 0);
            *(if same { right } else { wrong }) += fires;
        }
    }
}
