//! The process environment, as a value: read once at start, handed to whoever needs a variable of it.

use std::collections::BTreeMap;

/// Environment variables by name. Empty ones count as absent.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        // Variables that are not text cannot be keys or addresses; they are as good as absent.
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of this variable, if it is set and not blank.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl std::fmt::Debug for Environment {
    /// Names only: values may be keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_variable_is_absent_and_values_are_never_printed() {
        let environment: Environment = [("A", " "), ("B", "sk-1")].into_iter().collect();
        assert_eq!((environment.get("A"), environment.get("B"), environment.get("C")), (None, Some("sk-1"), None));
        assert!(!format!("{environment:?}").contains("sk-1"));
    }
}
