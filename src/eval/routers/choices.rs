//! A router that is a list: which model for which row. How anybody enters the table without a line of Rust.

use std::collections::HashMap;
use std::io::Read;

use ndarray::Array2;

use super::{Lesson, Outcomes, Router};
use crate::eval::table::{RowId, hex};

/// Choices read from a file; rows that are not in it go to the model that was best on the training part.
#[derive(Clone, Debug)]
pub struct Choices {
    name: String,
    model: HashMap<String, String>,
}

/// Why a file is no list of choices.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ChoicesError(String);

impl Choices {
    /// Reads CSV with the header `id,model`: the row's name in hexadecimal digits, the model's name as in the table.
    ///
    /// # Errors
    /// [`ChoicesError`] with the line and what was expected there.
    pub fn read(name: &str, reader: impl Read) -> Result<Self, ChoicesError> {
        let mut csv = csv::Reader::from_reader(reader);
        let header = csv.headers().map_err(|e| ChoicesError(e.to_string()))?.clone();
        let column = |wanted: &str| {
            let missing =
                || ChoicesError(format!("line 1: expected the columns `id,model`, got `{}`", header.as_slice()));
            header.iter().position(|name| name.trim() == wanted).ok_or_else(missing)
        };
        let (id, chosen) = (column("id")?, column("model")?);
        let mut model = HashMap::new();
        for record in csv.records() {
            let record = record.map_err(|e| ChoicesError(e.to_string()))?;
            model.insert(record[id].to_lowercase(), record[chosen].to_owned());
        }
        Ok(Self { name: name.to_owned(), model })
    }

    fn of(&self, id: &RowId, models: &[String]) -> Option<usize> {
        let name = self.model.get(&hex(id))?;
        models.iter().position(|model| model == name)
    }
}

impl Router for Choices {
    fn name(&self) -> &str {
        &self.name
    }

    fn expect(&self, lesson: &Lesson) -> Option<Outcomes> {
        if !lesson.test.ids.iter().any(|id| self.of(id, &lesson.models).is_some()) {
            return None;
        }
        let fallback = lesson.outcomes.best_single();
        let mut score = Array2::zeros((lesson.test.len(), lesson.models.len()));
        for (row, id) in lesson.test.ids.iter().enumerate() {
            score[[row, self.of(id, &lesson.models).unwrap_or(fallback)]] = 1.0;
        }
        Some(Outcomes { score, cost: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_without_the_two_columns_is_refused_by_name() {
        let wrong = Choices::read("mine", "row,model\n00,a\n".as_bytes()).expect_err("no id");
        assert!(wrong.to_string().contains("`id,model`"), "{wrong}");
    }

    #[test]
    fn a_listed_row_goes_to_its_model() {
        let list = Choices::read("mine", format!("id,model\n{},b\n", "0A".repeat(32)).as_bytes()).expect("a list");
        assert_eq!(list.of(&[10; 32], &["a".to_owned(), "b".to_owned()]), Some(1));
        assert_eq!(list.of(&[11; 32], &["a".to_owned(), "b".to_owned()]), None);
    }
}
