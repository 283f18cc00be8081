//! The library rig, by each of the ways in which it asks: responses, which is its default for
//! OpenAI, chat completions, and Anthropic's messages.

mod answers;
mod api;
mod checks;
mod errors;
mod models;
mod responses;
mod schemas;
mod server;
mod tools;

use std::process::ExitCode;

use api::Api;
use checks::Checks;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut checks = Checks::default();
    for api in Api::ALL {
        answers::run(&mut checks, api).await;
        tools::run(&mut checks, api).await;
        schemas::run(&mut checks, api).await;
        errors::run(&mut checks, api).await;
    }
    responses::run(&mut checks).await;
    models::run(&mut checks).await;
    checks.status()
}
