//! The figures as a table on the terminal and as a page for the repository, with a chart made of characters.

use std::fmt::Write as _;
use std::fs;

use super::{Figure, Filter, Row, Spread};

/// What all was measured on.
#[derive(Debug, Clone)]
pub struct Place {
    processor: String,
    processors: usize,
    kernel: String,
    date: String,
}

impl Place {
    /// This machine, now.
    pub fn here() -> anyhow::Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let today = std::process::Command::new("date").args(["-u", "+%F"]).output()?.stdout;
        Ok(Self {
            processor: model.map_or("unknown", |(_, model)| model).to_owned(),
            processors: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            date: String::from_utf8_lossy(&today).trim().to_owned(),
        })
    }
}

/// What a row gave under a filter, and without one at the beginning of the same turn.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Under the filter.
    pub value: f64,
    /// Without one.
    pub bare: f64,
}

/// A filter, and what each round gave under it.
pub type Column = (Filter, Vec<Measured>);

/// Everything that was measured.
#[derive(Debug, Default)]
pub struct Page {
    /// For each row and filter what each round gave.
    pub cells: Vec<(Row, Vec<Column>)>,
    /// The other figures, by heading.
    pub figures: Vec<(String, Vec<Figure>)>,
    /// Rounds of each row.
    pub rounds: usize,
}

const FULL: usize = 40;

impl Page {
    /// The ratios of a filter to no filter, round by round; of no filter, how alike it is to itself.
    fn ratios(values: &[Column], filter: Filter) -> Option<Spread> {
        let (_, all) = values.iter().find(|(one, _)| *one == filter)?;
        if all.is_empty() {
            return None;
        }
        Some(Spread::of(all.iter().map(|one| one.value / one.bare).collect()))
    }

    fn filters(&self) -> Vec<Filter> {
        let has = |filter: &Filter| {
            self.cells
                .iter()
                .any(|(_, values)| values.iter().any(|(one, _)| one == filter))
        };
        Filter::ALL.into_iter().filter(has).collect()
    }

    /// The page.
    pub fn markdown(&self, place: &Place) -> String {
        let mut text = String::from(HEAD);
        // Writing into text does not fail.
        let _ = writeln!(
            text,
            "Measured on {}, {} processors, Linux {}, {}; {} rounds.\n",
            place.processor, place.processors, place.kernel, place.date, self.rounds
        );
        if !self.cells.is_empty() {
            text.push_str("## Traffic\n\n");
            text.push_str(TRAFFIC);
            text.push_str(&self.table());
            text.push_str("\n```text\n");
            text.push_str(&self.chart());
            text.push_str("```\n\n");
        }
        for (heading, figures) in &self.figures {
            let _ = writeln!(text, "## {heading}\n");
            text.push_str("| what | median | lowest to highest | bar | |\n|---|---:|---:|---:|---|\n");
            text.extend(figures.iter().map(line));
            text.push('\n');
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }

    /// Traffic: absolute without a filter, ratios with one.
    fn table(&self) -> String {
        let filters = self.filters();
        let mut text = String::from("| |");
        for filter in &filters {
            let _ = write!(text, " {} |", filter.name());
        }
        text.push_str(" bar |\n|---|");
        text.push_str(&"---:|".repeat(filters.len() + 1));
        text.push('\n');
        for (row, values) in &self.cells {
            let _ = write!(text, "| {} |", row.name());
            for filter in &filters {
                text.push_str(&cell(*row, values, *filter));
            }
            match row.bar() {
                Some(bar) => {
                    let _ = writeln!(text, " ≥ {bar:.2} |");
                }
                None => text.push_str(" |\n"),
            }
        }
        text
    }

    /// A bar of characters for each filter, row by row.
    fn chart(&self) -> String {
        let mut text = String::new();
        for (row, values) in &self.cells {
            let _ = writeln!(text, "{}", row.name());
            for filter in self.filters() {
                let Some(ratio) = Self::ratios(values, filter) else {
                    continue;
                };
                let _ = writeln!(
                    text,
                    "  {:<28}{:>6.3} {}",
                    filter.name(),
                    ratio.median,
                    bar(ratio.median)
                );
            }
        }
        text
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a number of characters, at most one and a half times the full bar"
)]
fn bar(ratio: f64) -> String {
    "█".repeat((ratio.clamp(0.0, 1.5) * FULL as f64).round() as usize)
}

fn cell(row: Row, values: &[Column], filter: Filter) -> String {
    let Some(Spread { median, low, high }) = Page::ratios(values, filter) else {
        return " |".to_owned();
    };
    if filter == Filter::Nothing {
        let bare = values.iter().flat_map(|(_, all)| all).map(|one| one.bare);
        let bare = grouped(Spread::of(bare.collect()).median);
        return format!(" {bare} {} ({low:.2} to {high:.2} of itself) |", row.unit());
    }
    format!(" **{median:.3}** ({low:.2} to {high:.2}) |")
}

fn line(figure: &Figure) -> String {
    let Spread { median, low, high } = figure.value;
    let unit = &figure.unit;
    let range = if (high - low).abs() < f64::EPSILON {
        String::new()
    } else {
        format!("{} to {}", grouped(low), grouped(high))
    };
    let (bar, reached) = match figure.bar {
        Some(bar) if median <= bar => (format!("≤ {} {unit}", grouped(bar)), "reached"),
        Some(bar) => (format!("≤ {} {unit}", grouped(bar)), "**not reached**"),
        None => (String::new(), ""),
    };
    format!(
        "| {} | {} {unit} | {range} | {bar} | {reached} |\n",
        figure.name,
        grouped(median)
    )
}

/// Three digits that count, and commas.
fn grouped(value: f64) -> String {
    if value.abs() < 100.0 {
        let places = if value.abs() < 10.0 { 2 } else { 1 };
        return format!("{value:.places$}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

const HEAD: &str =
    "# Benchmark\n\nWritten by `make bench`; absolute times belong to the machine, ratios carry further.\n\n";

const TRAFFIC: &str = "Two pods of one node, each behind a veth, the node routes between them, MTU 1500; every filter stands on both veths, \
nftables in the node's forward chain behind `ct state established,related accept`. Each filter has a node of its own, all of them are there for \
the whole run, and in each round all take their turn in another order. A turn begins with all rows without a filter, to which its ratios are: \
median (lowest to highest) of the rounds; what no filter gives then beside itself says how much of that is chance. \
Cellwall guards with an agent that knows 10,000 pods; all of its rules concern the sending pod, the one that decides comes last, and \
one more rule refuses a port. Bulk and datagrams: sender on one processor, receiver on another; ping-pong and connections: both on one.\n\n";

#[cfg(test)]
mod tests {
    use super::super::Traffic;
    use super::*;

    fn measured(value: f64, bare: f64) -> Measured {
        Measured { value, bare }
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let row = Row {
            traffic: Traffic::Datagrams,
            v4: true,
        };
        let values = vec![
            (Filter::Nothing, vec![measured(99.0, 100.0), measured(202.0, 200.0)]),
            (Filter::Empty, vec![measured(90.0, 100.0), measured(190.0, 200.0)]),
        ];
        let page = Page {
            cells: vec![(row, values)],
            figures: vec![(
                "Runs".to_owned(),
                vec![Figure::one("a packet", 40.0, "ns").at_most(35.0)],
            )],
            rounds: 2,
        };
        let place = Place {
            processor: "P".to_owned(),
            processors: 2,
            kernel: "6".to_owned(),
            date: "2026-01-01".to_owned(),
        };
        let text = page.markdown(&place);
        assert!(
            text.contains(
                "| UDP, one flow, IPv4 | 150 packets/s (0.99 to 1.01 of itself) | **0.925** (0.90 to 0.95) | ≥ 0.95 |"
            ),
            "{text}"
        );
        assert!(
            text.contains("| a packet | 40.0 ns |  | ≤ 35.0 ns | **not reached** |"),
            "{text}"
        );
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(1_234_567.8), "1,234,568");
        assert_eq!(grouped(0.5), "0.50");
        assert_eq!(grouped(12.34), "12.3");
        assert_eq!(grouped(-250.0), "-250");
    }
}
