//! Simulates what a file says, from Rust: `cargo run --release -p streamcore-trace --example
//! simulate SETTINGS`. The settings are those that `streamcore simulate --json` shows.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs::File;

use streamcore_trace::simulation::Settings;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("which settings?")?;
    let settings: Settings = serde_json::from_reader(File::open(path)?)?;
    let report = settings.start()?.run()?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
