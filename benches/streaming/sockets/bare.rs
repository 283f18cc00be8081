//! The writer to be compared with: it writes what was recorded, one write for each event, at once
//! or at a pace.

use std::io::Read;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache, no-transform\r\n\
    x-accel-buffering: no\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";

/// Serves until the process is killed. The body comes by standard input.
pub(crate) fn serve(pace: Option<Duration>) {
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body).unwrap();
    let events: Arc<Vec<Vec<u8>>> = Arc::new(events(&body).map(chunked).collect());
    let num_cores = available_parallelism().map_or(1, std::num::NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(num_cores.min(4))
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(socket, Arc::clone(&events), pace));
        }
    });
}

async fn answer(mut socket: TcpStream, events: Arc<Vec<Vec<u8>>>, pace: Option<Duration>) {
    socket.set_nodelay(true).unwrap();
    let mut request = vec![0; 4096];
    let _ = socket.read(&mut request).await.unwrap();
    socket.write_all(HEAD).await.unwrap();
    for event in events.iter() {
        if let Some(pace) = pace {
            sleep(pace).await;
        }
        socket.write_all(event).await.unwrap();
    }
    socket.write_all(b"0\r\n\r\n").await.unwrap();
    socket.shutdown().await.unwrap();
}

fn events(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let end = rest.windows(2).position(|pair| pair == b"\n\n")? + 2;
        let (event, others) = rest.split_at(end);
        rest = others;
        Some(event)
    })
}

fn chunked(event: &[u8]) -> Vec<u8> {
    [format!("{:X}\r\n", event.len()).as_bytes(), event, b"\r\n"].concat()
}
