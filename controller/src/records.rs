//! Flow records: what the kernel told, who it was about, and where the answer goes.
//!
//! ring -> [`fold`] (repeats within a second) -> [`directory`] (who is who) -> alerts, and by [`limit`] (lines a pod may
//! have) [`sink`], [`otlp`] and [`recent`]. What became of every record is in [`accounts`].

pub mod accounts;
pub mod directory;
pub mod flow;
pub mod fold;
pub mod limit;
pub mod otlp;
pub mod recent;
pub mod sink;

pub use directory::Directory;
pub use flow::{FlowEnd, FlowRecord, Party, RuleName};

#[cfg(test)]
mod tests {
    use cellwall_policy::model::Reason;

    #[test]
    fn every_reason_of_a_record_is_explained_where_readers_are_sent() {
        let page = include_str!("../../ARCHITECTURE.md");
        let explained: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
            .flat_map(|(names, _)| names.split(", "))
            .collect();
        for reason in Reason::ALL {
            assert!(explained.contains(&reason.name()), "{reason} has no line");
        }
    }
}
