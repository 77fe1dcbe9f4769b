//! Puts a world in force and dies at a chosen write: PLACE SEED FLIPPED \[WRITE\]. Prints the number of writes otherwise.

use anyhow::Context as _;
use cellwall_tests::kill_points::{apply, world};

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let mut word = || words.next().context("PLACE SEED FLIPPED [WRITE]");
    let place = word()?;
    let world = world(word()?.parse()?, word()?.parse()?);
    let die_at = words.next().map(|text| text.parse()).transpose()?;
    println!("{}", apply(&place, &world, die_at)?);
    Ok(())
}
