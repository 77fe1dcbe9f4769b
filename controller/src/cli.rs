//! The command line: arguments parsed straight into domain types, one file a command.

pub mod alerts;
pub mod all_nodes;
pub mod args;
pub mod check;
pub mod cni;
pub mod explain;
pub mod flows;
pub mod listings;
pub mod output;
pub mod uninstall;
