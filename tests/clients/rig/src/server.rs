//! The servers that the runner started, and what their metrics say.

use std::env;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

pub static KEY: LazyLock<String> = LazyLock::new(|| variable("OPENAI_API_KEY"));
static URLS: LazyLock<String> = LazyLock::new(|| variable("STREAMCORE_URLS"));

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Where the demo model answers.
pub fn demo() -> &'static str {
    URLS.split(' ').next().expect("a split has a first part")
}

/// Where `script.py` is played.
pub fn script() -> &'static str {
    URLS.split(' ').nth(1).expect("`STREAMCORE_URLS` has two addresses")
}

/// The sum of the values of a metric of the scripted server.
pub async fn metric(name: &str) -> Result<u64> {
    let asked = reqwest::Client::new().get(format!("{}/metrics", script())).header("x-api-key", &*KEY);
    let page = asked.send().await?.error_for_status()?.text().await?;
    let values: Vec<u64> = page
        .lines()
        .filter(|line| line.split(['{', ' ']).next() == Some(name))
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    ensure!(!values.is_empty(), "no metric {name} in:\n{page}");
    Ok(values.iter().sum())
}

/// Requests whose client left before they had ended.
pub async fn num_aborted() -> Result<u64> {
    metric("streamcore_aborts_total").await
}

/// Reads a metric of the scripted server until it has a value.
pub async fn wait_for(name: &str, expected: u64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let value = metric(name).await.context("the server did not show its metrics")?;
        if value == expected {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{name} is {value}, expected {expected}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
