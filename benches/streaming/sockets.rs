//! The whole way of a stream over HTTP, without a model, against a writer that has nothing to do
//! but to write.
//!
//!     cargo bench -p streamcore-server --bench sockets [-- PORT]
//!
//! The server plays a script, in a process of its own; with PORT it is one that runs already with
//! the same script, such as `streamcore serve script:FILE`. The bare writer is a tokio program in
//! another process, which accepts the same sockets and writes the bytes that the server has
//! answered with, one write for each event. They take turns, and one client reads both. Processor
//! time is that of the server's process alone. The table is Markdown.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark, not a library")]

#[path = "sockets/bare.rs"]
mod bare;
#[path = "sockets/client.rs"]
mod client;
#[path = "sockets/scripted.rs"]
mod scripted;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use client::{Client, Request};

const ROUNDS: usize = 5;

/// One row of the table.
struct Load {
    num_streams: usize,
    num_tokens: usize,
    /// The answer whose tokens come one every this many milliseconds, else as fast as they can be
    /// written.
    is_paced: bool,
}

const LOADS: [Load; 4] = [
    Load { num_streams: 1, num_tokens: 40_000, is_paced: false },
    Load { num_streams: 64, num_tokens: 4_000, is_paced: false },
    Load { num_streams: 512, num_tokens: 500, is_paced: false },
    Load { num_streams: 512, num_tokens: 300, is_paced: true },
];

fn main() {
    // Cargo adds `--bench`.
    let argument = std::env::args().skip(1).find(|argument| argument != "--bench");
    match argument.as_deref() {
        Some("bare") => bare::serve(None),
        Some("paced bare") => bare::serve(Some(scripted::PACE)),
        Some("scripted") => scripted::serve(),
        Some("print-script") => println!("{}", scripted::script()),
        port => compare(port.map(|port| port.parse().unwrap())),
    }
}

fn compare(port: Option<u16>) {
    let scripted = match port {
        Some(port) => Server { port, process: None },
        None => Server::start("scripted", &[]),
    };
    println!(
        "| streams | events each | server, events/s | bare, events/s | share | server, CPU µs/event | bare | bytes/event |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for load in LOADS {
        let request = Request { num_tokens: load.num_tokens, is_paced: load.is_paced };
        let client = Client::new();
        let body = client.record(scripted.port, &request);
        let num_events = body.windows(2).filter(|pair| *pair == b"\n\n").count();
        let bare = Server::start(if load.is_paced { "paced bare" } else { "bare" }, &body);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            for (server, runs) in [(&scripted, &mut ours), (&bare, &mut theirs)] {
                let cpu_before = server.cpu_time();
                let took = client.read_streams(server.port, &request, load.num_streams);
                let cpu = server.cpu_time().saturating_sub(cpu_before);
                let total = (load.num_streams * num_events) as f64;
                runs.push((total / took.as_secs_f64(), cpu.as_secs_f64() * 1e6 / total));
            }
        }
        let (rate, cpu) = medians(&ours);
        let (bare_rate, bare_cpu) = medians(&theirs);
        let pace = if load.is_paced { ", one each 10 ms" } else { "" };
        println!(
            "| {} | {num_events}{pace} | {rate:.0} | {bare_rate:.0} | {:.2} | {cpu:.2} | {bare_cpu:.2} | {} |",
            load.num_streams,
            rate / bare_rate,
            body.len() / num_events,
        );
    }
}

/// Of the rates and of the processor times.
fn medians(runs: &[(f64, f64)]) -> (f64, f64) {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    (median(runs.iter().map(|run| run.0).collect()), median(runs.iter().map(|run| run.1).collect()))
}

/// A server in another process, which ends with this.
struct Server {
    port: u16,
    process: Option<Child>,
}

impl Server {
    /// Starts this program again in another role; it reads `input` and then writes its port.
    fn start(role: &str, input: &[u8]) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(input).unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { port: line.trim().parse().unwrap(), process: Some(process) }
    }

    /// Returns what its threads have used so far, by Linux's book; nothing elsewhere.
    fn cpu_time(&self) -> Duration {
        let Some(process) = &self.process else { return Duration::ZERO };
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", process.id())) else {
            return Duration::ZERO;
        };
        let of_thread = |thread: std::io::Result<std::fs::DirEntry>| {
            let times = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            times.split(' ').next()?.parse::<u64>().ok()
        };
        Duration::from_nanos(threads.filter_map(of_thread).sum())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
