//! What is wrong with a setting, in words its author can act on.

use std::fmt;

use serde::Serialize;

/// One mistake in a configuration: where, what was found, what is allowed.
///
/// Every part checks its own `Config` with a method `problems(&self) -> Vec<Problem>` whose paths start at that
/// part (`retry.attempts`); the reader of the file puts the name of the section in front.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where, as the file names it: `providers.openai.key`.
    pub path: String,
    /// What stands there.
    pub found: String,
    /// What may stand there.
    pub allowed: String,
}

impl Problem {
    /// A mistake at `path`.
    pub fn new(path: impl Into<String>, found: impl fmt::Display, allowed: impl Into<String>) -> Self {
        Self { path: path.into(), found: found.to_string(), allowed: allowed.into() }
    }

    /// The same mistake, seen from the section that holds the part.
    #[must_use]
    pub fn inside(self, section: &str) -> Self {
        let path = if self.path.is_empty() { section.to_owned() } else { format!("{section}.{}", self.path) };
        Self { path, ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, found, allowed } = self;
        if path.is_empty() {
            write!(f, "found {found}; allowed: {allowed}")
        } else {
            write!(f, "{path}: found {found}; allowed: {allowed}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_the_whole_path() {
        let problem = Problem::new("attempts", 0, "1 to 10").inside("retry").inside("dispatch");
        assert_eq!(problem.to_string(), "dispatch.retry.attempts: found 0; allowed: 1 to 10");
    }
}
