//! Figures of several rounds: the median, and how far the rounds lie apart.

use serde::{Deserialize, Serialize};

/// Median, lowest and highest of several rounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

impl Spread {
    /// Of these values; all zero where there are none.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        let last = values.len().saturating_sub(1);
        Self {
            median: f64::midpoint(at(last / 2), at(last.div_ceil(2))),
            low: at(0),
            high: at(last),
        }
    }

    /// The value below which `part` (0 to 1) of `values` lie.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an index below the number of values"
    )]
    pub fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
        values.sort_by(f64::total_cmp);
        let at = (values.len() as f64 * part) as usize;
        let last = values.len().saturating_sub(1);
        values.get(at.min(last)).copied().unwrap_or_default()
    }
}

/// One line of the tables beside traffic: what was measured, what came of it, and what is aimed at.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// What came of it.
    pub value: Spread,
    /// Its unit.
    pub unit: String,
    /// The bar, in the same unit; none: there is none.
    pub bar: Option<f64>,
}

impl Figure {
    /// A figure without a bar.
    pub fn new(name: impl Into<String>, value: Spread, unit: &str) -> Self {
        Self {
            name: name.into(),
            value,
            unit: unit.to_owned(),
            bar: None,
        }
    }

    /// A figure of one value.
    pub fn one(name: impl Into<String>, value: f64, unit: &str) -> Self {
        Self::new(name, Spread::of(vec![value]), unit)
    }

    /// The same with the most that it is to be.
    #[must_use]
    pub fn at_most(mut self, bar: f64) -> Self {
        self.bar = Some(bar);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_in_the_middle_and_a_quantile_where_it_says() {
        let odd = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((odd.median, odd.low, odd.high), (2.0, 1.0, 3.0));
        assert_eq!(format!("{}", Spread::of(vec![1.0, 2.0, 4.0, 3.0]).median), "2.5");
        assert_eq!(Spread::of(Vec::new()), Spread::default());
        let hundred = (0..100).map(f64::from).collect();
        assert_eq!(format!("{}", Spread::quantile(hundred, 0.99)), "99");
    }
}
