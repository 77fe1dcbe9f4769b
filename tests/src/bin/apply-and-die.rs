//! Puts a world in force and dies at a chosen write: PLACE SEED FLIPPED \[WRITE\]. Prints the number of writes otherwise.

use anyhow::Context as _;
use cellwall_tests::kill_points::{apply, world};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("PLACE SEED FLIPPED [WRITE]");
    let place = next()?;
    let world = world(next()?.parse()?, next()?.parse()?);
    let die_at = arguments.next().map(|text| text.parse()).transpose()?;
    println!("{}", apply(&place, &world, die_at)?);
    Ok(())
}
