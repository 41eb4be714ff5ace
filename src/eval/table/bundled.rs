//! The bundled form: one safetensors file a set, vectors as 8-bit integers with a scale a row.

use std::collections::HashMap;

use ndarray::Array2;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorView};

use super::{LEXICAL, Provenance, Table, TableError, hex};
use crate::embed::DIMENSIONS;

/// What `lexical` says in the metadata: which ten counts stand in `lex`.
const LEXICAL_NAME: &str = "lexical-10";

/// A unit vector as integers: `(whole numbers, scale)` with scale = greatest magnitude / 127, rounded half to even.
#[must_use]
pub fn quantise(vector: &[f32]) -> (Vec<i8>, f32) {
    let scale = vector.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0;
    if scale == 0.0 {
        return (vec![0; vector.len()], 0.0);
    }
    (vector.iter().map(|x| (x / scale).round_ties_even() as i8).collect(), scale)
}

impl Table {
    /// Reads the bundled form and checks it whole: shapes, types, scores in 0..1, costs not negative, rows in order.
    ///
    /// # Errors
    /// [`TableError`] naming the tensor, the metadata entry or the row, what was expected and what was found.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TableError> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let tensors = SafeTensors::deserialize(bytes)?;
        let reader = Reader { tensors: &tensors, header: &header };
        if reader.text("lexical")? != LEXICAL_NAME {
            let problem = format!("expected `{LEXICAL_NAME}`, got `{}`", reader.text("lexical")?);
            return Err(TableError::Metadata { name: "lexical", problem });
        }
        let models = reader.list("models")?;
        let groups = reader.list("groups")?;
        let id = reader.bytes("id", Dtype::U8, None, 32)?;
        let n = id.len() / 32;
        let ids = id.chunks_exact(32).map(|row| row.try_into().expect("chunks of 32")).collect();
        let group = reader.numbers::<2, i16>("group", Dtype::I16, n, 0, i16::from_le_bytes)?;
        let group = group.into_iter().map(|g| u16::try_from(g).ok()).collect();
        let whole = reader.bytes("emb", Dtype::I8, Some(n), DIMENSIONS)?;
        let scale = reader.numbers::<4, f32>("emb_scale", Dtype::F32, n, 0, f32::from_le_bytes)?;
        let vectors = Array2::from_shape_fn((n, DIMENSIONS), |(row, k)| {
            f32::from(i8::from_le_bytes([whole[row * DIMENSIONS + k]])) * scale[row]
        });
        let lexical = reader.matrix("lex", n, LEXICAL)?;
        let chars = reader.numbers::<4, i32>("chars", Dtype::I32, n, 0, i32::from_le_bytes)?;
        let k = models.len();
        let table = Self {
            set: reader.text("set")?.to_owned(),
            ids,
            groups,
            group,
            vectors,
            lexical,
            chars: chars.into_iter().map(i32::cast_unsigned).collect(),
            score: reader.matrix("score", n, k)?,
            cost: reader.optional("cost_usd", |name| reader.matrix(name, n, k))?,
            tokens_in: reader.optional("tokens_in", |name| reader.integers(name, n, k))?,
            tokens_out: reader.optional("tokens_out", |name| reader.integers(name, n, k))?,
            models,
            provenance: Provenance {
                source: reader.text("source")?.to_owned(),
                commit: reader.text("commit")?.to_owned(),
                licence: reader.text("licence")?.to_owned(),
                rows_sha256: reader.text("rows_sha256")?.to_owned(),
            },
        };
        table.check()?;
        Ok(table)
    }

    /// The bundled form of this table. Vectors lose what eight bits lose; everything else is kept exactly.
    ///
    /// # Errors
    /// [`TableError`] if the table breaks a rule of the form.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TableError> {
        self.check()?;
        let n = self.len();
        let k = self.models.len();
        let mut whole = Vec::with_capacity(n * DIMENSIONS);
        let mut scales = Vec::with_capacity(4 * n);
        for row in self.vectors.rows() {
            let (numbers, scale) = quantise(&row.to_vec());
            whole.extend(numbers.into_iter().map(i8::cast_unsigned));
            scales.extend(scale.to_le_bytes());
        }
        let group = self.group.iter().flat_map(|g| g.map_or(-1, u16::cast_signed).to_le_bytes()).collect();
        let chars = self.chars.iter().flat_map(|c| c.to_le_bytes()).collect();
        let floats = |matrix: &Array2<f32>| matrix.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let integers = |matrix: &Array2<i32>| matrix.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let mut parts: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)> = vec![
            ("id", Dtype::U8, vec![n, 32], self.ids.concat()),
            ("group", Dtype::I16, vec![n], group),
            ("emb", Dtype::I8, vec![n, DIMENSIONS], whole),
            ("emb_scale", Dtype::F32, vec![n], scales),
            ("lex", Dtype::F32, vec![n, LEXICAL], floats(&self.lexical)),
            ("chars", Dtype::I32, vec![n], chars),
            ("score", Dtype::F32, vec![n, k], floats(&self.score)),
        ];
        parts.extend(self.cost.as_ref().map(|m| ("cost_usd", Dtype::F32, vec![n, k], floats(m))));
        parts.extend(self.tokens_in.as_ref().map(|m| ("tokens_in", Dtype::I32, vec![n, k], integers(m))));
        parts.extend(self.tokens_out.as_ref().map(|m| ("tokens_out", Dtype::I32, vec![n, k], integers(m))));
        let list = |names: &[String]| serde_json::to_string(names).expect("names have a JSON form");
        let metadata = HashMap::from([
            ("set".to_owned(), self.set.clone()),
            ("models".to_owned(), list(&self.models)),
            ("groups".to_owned(), list(&self.groups)),
            ("lexical".to_owned(), LEXICAL_NAME.to_owned()),
            ("source".to_owned(), self.provenance.source.clone()),
            ("commit".to_owned(), self.provenance.commit.clone()),
            ("licence".to_owned(), self.provenance.licence.clone()),
            ("rows_sha256".to_owned(), self.provenance.rows_sha256.clone()),
        ]);
        let views = parts
            .iter()
            .map(|(name, dtype, shape, bytes)| Ok((*name, TensorView::new(*dtype, shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, TableError>>()?;
        Ok(safetensors::serialize(views, Some(metadata))?)
    }

    /// Checks the rules that shapes cannot say.
    fn check(&self) -> Result<(), TableError> {
        if !self.models.is_sorted_by(|a, b| a < b) || self.models.is_empty() {
            let problem = format!("expected distinct names in order, got {:?}", self.models);
            return Err(TableError::Metadata { name: "models", problem });
        }
        let wrong = |row: usize, problem: String| Err(TableError::Row { row, problem });
        for row in 0..self.len() {
            if row > 0 && self.ids[row - 1] >= self.ids[row] {
                return wrong(row, format!("expected ids in ascending order, got {}", hex(&self.ids[row])));
            }
            if let Some(group) = self.group[row].filter(|g| usize::from(*g) >= self.groups.len()) {
                return wrong(row, format!("group {group}, but there are {} groups", self.groups.len()));
            }
            if let Some(score) = self.score.row(row).iter().find(|s| !(0.0..=1.0).contains(*s)) {
                return wrong(row, format!("expected scores from 0 to 1, got {score}"));
            }
            let costs = self.cost.iter().flat_map(|cost| cost.row(row).to_vec());
            if let Some(cost) = costs.into_iter().find(|c| *c < 0.0 || c.is_infinite()) {
                return wrong(row, format!("expected costs of 0 or more, got {cost}"));
            }
            if self.vectors.row(row).iter().chain(self.lexical.row(row)).any(|x| !x.is_finite()) {
                return wrong(row, "its vector or its lexical counts hold a value that is not a number".to_owned());
            }
        }
        Ok(())
    }
}

/// Tensors and metadata by name, each with its check.
struct Reader<'a> {
    tensors: &'a SafeTensors<'a>,
    header: &'a Metadata,
}

impl<'a> Reader<'a> {
    fn text(&self, name: &'static str) -> Result<&'a str, TableError> {
        let entries = self.header.metadata().as_ref();
        let missing = || TableError::Metadata { name, problem: "is missing".to_owned() };
        entries.and_then(|map| map.get(name)).map(String::as_str).ok_or_else(missing)
    }

    fn list(&self, name: &'static str) -> Result<Vec<String>, TableError> {
        serde_json::from_str(self.text(name)?)
            .map_err(|e| TableError::Metadata { name, problem: format!("expected a JSON list of names: {e}") })
    }

    /// The raw bytes of a tensor of `rows` (any number if `None`) by `width` (a vector if 0).
    fn bytes(
        &self,
        name: &'static str,
        dtype: Dtype,
        rows: Option<usize>,
        width: usize,
    ) -> Result<&'a [u8], TableError> {
        let wrong = |problem: String| TableError::Tensor { name, problem };
        let tensor = self.tensors.tensor(name).map_err(|_| wrong("is missing".to_owned()))?;
        let shape = tensor.shape();
        let fits = match (shape, width) {
            ([n], 0) => rows.is_none_or(|rows| rows == *n),
            ([n, k], _) if width > 0 => *k == width && rows.is_none_or(|rows| rows == *n),
            _ => false,
        };
        if tensor.dtype() != dtype || !fits {
            let rows = rows.map_or("n".to_owned(), |n| n.to_string());
            let width = if width == 0 { String::new() } else { format!(", {width}") };
            return Err(wrong(format!("expected {dtype:?} [{rows}{width}], got {:?} {shape:?}", tensor.dtype())));
        }
        Ok(tensor.data())
    }

    fn numbers<const BYTES: usize, T>(
        &self,
        name: &'static str,
        dtype: Dtype,
        rows: usize,
        width: usize,
        read: impl Fn([u8; BYTES]) -> T,
    ) -> Result<Vec<T>, TableError> {
        let bytes = self.bytes(name, dtype, Some(rows), width)?;
        Ok(bytes.chunks_exact(BYTES).map(|chunk| read(chunk.try_into().expect("chunks of this size"))).collect())
    }

    fn matrix(&self, name: &'static str, rows: usize, width: usize) -> Result<Array2<f32>, TableError> {
        let numbers = self.numbers(name, Dtype::F32, rows, width, f32::from_le_bytes)?;
        Ok(Array2::from_shape_vec((rows, width), numbers).expect("the shape was checked"))
    }

    fn integers(&self, name: &'static str, rows: usize, width: usize) -> Result<Array2<i32>, TableError> {
        let numbers = self.numbers(name, Dtype::I32, rows, width, i32::from_le_bytes)?;
        Ok(Array2::from_shape_vec((rows, width), numbers).expect("the shape was checked"))
    }

    fn optional<T>(
        &self,
        name: &'static str,
        read: impl Fn(&'static str) -> Result<T, TableError>,
    ) -> Result<Option<T>, TableError> {
        if self.tensors.names().contains(&name) { read(name).map(Some) } else { Ok(None) }
    }
}
