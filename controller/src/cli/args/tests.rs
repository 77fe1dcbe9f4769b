//! What is wrong usage, and what every command takes.

use super::*;

fn read(line: &str) -> Result<Cli, clap::Error> {
    Cli::read(line.split(' ').map(OsString::from))
}

#[test]
fn the_command_line_contradicts_itself_nowhere() {
    Cli::command().debug_assert();
}

#[test]
fn wrong_usage_ends_with_exit_code_2() {
    for line in [
        "cellwall",
        "cellwall unheard-of",
        "cellwall run",
        "cellwall run --manifests . --flow-log-pass 1/0",
        "cellwall run --manifests . --instance a/b",
        "cellwall explain shop/web",
        "cellwall explain - shop/web",
        "cellwall flows --since 10",
        "cellwall flows --pod web",
        "cellwall refused web",
        "cellwall refused shop/web/0",
    ] {
        assert_eq!(read(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn questions_are_asked_one_by_one_or_from_standard_input() {
    for line in [
        "cellwall explain shop/web shop/db",
        "cellwall explain World shop/db 53/UDP --manifests .",
        "cellwall explain - --format json",
    ] {
        assert!(read(line).is_ok(), "{line}");
    }
}

#[test]
fn every_command_shows_examples_and_takes_the_instance() {
    let mut cli = Cli::command();
    cli.build();
    for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = command.get_name();
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains(&format!("cellwall {name}")), "{name}: {help}");
        let takes = |id: &str| command.get_arguments().any(|argument| argument.get_id() == id);
        assert!(takes("instance") && takes("state_dir"), "{name}");
    }
}
