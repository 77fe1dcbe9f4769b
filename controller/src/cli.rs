//! The command line: arguments parsed straight into domain types, one file a command.

pub mod args;
pub mod output;
