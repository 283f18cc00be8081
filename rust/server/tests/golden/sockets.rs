//! A case over a real socket: the native listener before the routes, the engine in a thread of its
//! own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::http::Response;
use streamcore_server::{Access, DriverLimits, NextStep, Server, ServerConfig, bind};

use crate::case::{Ask, Before, Case, prepare};
use crate::common::contract::Asked;
use crate::common::model::{VOCAB_SIZE, text_model};
use crate::common::{Runner, Transcript, engine_config, limits, naming};

/// Asks a server of its own.
pub(crate) fn play(case: &Case) -> Transcript {
    let api_keys =
        if case.before == Before::Keys { vec!["first".to_owned(), "second".to_owned()] } else { vec![] };
    let max_waiting_requests =
        if case.before == Before::FullQueue { 1 } else { limits().max_waiting_requests };
    let config = ServerConfig {
        naming: naming(),
        access: Access { api_keys, ..Access::default() },
        vocab_size: VOCAB_SIZE,
        engine: engine_config(),
        limits: DriverLimits { max_waiting_requests, ..limits() },
        script: None,
    };
    let server = Server::start(bind("127.0.0.1", 0).unwrap(), text_model(), config).unwrap();
    prepare(server.driver(), case.before);
    let mut runner = Runner::new(Arc::clone(server.driver()), case.script.as_bytes());
    runner.fails_after = case.fails_after;
    // The choices of an answer are queued one by one; which of them the first step has decides what
    // is there when the runner dies.
    let num_choices = case.json().map_or(1, |body| Asked::of(case.ask.path, &body).num_choices);
    let is_asked =
        move |runner: &Runner| runner.driver.stats().num_waiting >= num_choices || runner.driver.is_stopped();
    let is_quiet = case.before == Before::FullQueue;
    let engine_thread = thread::spawn(move || {
        while !is_asked(&runner) {
            thread::yield_now();
        }
        while !is_quiet && runner.step(Duration::from_millis(20)) != NextStep::Stopped {}
    });
    let transcript = ask(TcpStream::connect(server.address().unwrap()).unwrap(), &case.ask);
    server.shutdown();
    engine_thread.join().unwrap();
    transcript
}

fn ask(mut socket: TcpStream, ask: &Ask) -> Transcript {
    let Ask { method, path, headers, body } = ask;
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: toy\r\n");
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    if !headers.iter().any(|(name, _)| *name == "content-length") {
        head += &format!("content-length: {}\r\n", body.len());
    }
    write!(socket, "{head}\r\n{body}").unwrap();
    let mut reader = BufReader::new(socket);
    let head = read_head(&mut reader);
    let len = head.headers().get("content-length").map(|len| len.to_str().unwrap().parse().unwrap());
    let (writes, is_cut) = match len {
        _ if *method == "HEAD" => (Vec::new(), false),
        Some(0) => (Vec::new(), false),
        Some(len) => (vec![read_text(&mut reader, len)], false),
        None => read_chunks(&mut reader),
    };
    Transcript { head, writes, is_cut }
}

fn read_line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line.strip_suffix("\r\n").unwrap().to_owned()
}

fn read_head(reader: &mut impl BufRead) -> Response<()> {
    let status = read_line(reader);
    let mut head = Response::builder().status(status.split(' ').nth(1).unwrap());
    loop {
        match read_line(reader).split_once(": ") {
            Some((name, value)) => head = head.header(name, value),
            None => return head.body(()).unwrap(),
        }
    }
}

fn read_text(reader: &mut impl Read, len: usize) -> String {
    let mut bytes = vec![0; len];
    reader.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Returns all chunks, and whether the last one of them is missing.
fn read_chunks(reader: &mut impl BufRead) -> (Vec<String>, bool) {
    let mut chunks = Vec::new();
    loop {
        if reader.fill_buf().unwrap().is_empty() {
            return (chunks, true);
        }
        let len = usize::from_str_radix(&read_line(reader), 16).unwrap();
        let chunk = read_text(reader, len);
        assert_eq!(read_line(reader), "");
        if len == 0 {
            return (chunks, false);
        }
        chunks.push(chunk);
    }
}
