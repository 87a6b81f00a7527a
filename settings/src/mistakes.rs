//! A list of all wrong settings, reported together.

use std::fmt;

/// The collected mistakes; each names the setting, the value, the limit and the source.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Mistakes(Vec<String>);

impl Mistakes {
    /// An empty list of mistakes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a mistake to the list.
    pub fn push(&mut self, mistake: impl Into<String>) {
        self.0.push(mistake.into());
    }

    /// True if there are no mistakes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `value`, or all mistakes if there are any.
    pub fn into_result<T>(self, value: Option<T>) -> Result<T, Mistakes> {
        match value {
            Some(value) if self.is_empty() => Ok(value),
            Some(_) | None => Err(self),
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "{} mistake{plural} in the configuration", self.0.len())?;
        for mistake in &self.0 {
            write!(f, "\n  {mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
