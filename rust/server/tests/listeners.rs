//! The other ways to a server than a plain port: TLS, a Unix domain socket, a path of a proxy.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::Runner;
use common::sockets::serve_at;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use streamcore_server::{Listener, NextStep, Server, bind, bind_unix};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A folder of this test, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("streamcore-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns a server whose steps are played for the length of a test.
fn play(listener: Listener, script: &str) -> (Server, thread::JoinHandle<()>) {
    let (server, mut runner) = serve_at(listener, "toy", script);
    let player = thread::spawn(move || while runner.step(Duration::from_millis(20)) != NextStep::Stopped {});
    (server, player)
}

fn end((server, player): (Server, thread::JoinHandle<()>)) {
    server.drain(Duration::ZERO);
    player.join().unwrap();
    server.shutdown();
}

/// Sends a request that ends its connection; all that comes back.
fn ask(mut stream: impl Read + Write, path: &str, body: &Value) -> String {
    let (method, body) = if body.is_null() { ("GET", String::new()) } else { ("POST", body.to_string()) };
    let len = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: toy\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn chat(stream: bool) -> Value {
    json!({ "model": "toy", "messages": [{ "role": "user", "content": "hi" }], "stream": stream })
}

fn certificate() -> CertifiedKey<rcgen::KeyPair> {
    generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap()
}

/// Returns a client of TLS that trusts this certificate alone.
fn secured(
    socket: TcpStream,
    trusted: &CertificateDer<'static>,
    alpn: &[&[u8]],
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), socket)
}

/// A key that goes over a network in plain text is public: the whole exchange has to work in TLS,
/// streams and their end too.
#[test]
fn whole_answers_and_streams_come_by_tls() {
    let (folder, CertifiedKey { cert, signing_key }) = (Folder::new("tls"), certificate());
    let both = folder.file("both.pem", &(cert.pem() + &signing_key.serialize_pem()));
    let (certfile, keyfile) =
        (folder.file("cert.pem", &cert.pem()), folder.file("key.pem", &signing_key.serialize_pem()));
    for (certfile, keyfile) in [(&certfile, &keyfile), (&both, &both)] {
        let listener = bind("127.0.0.1", 0).unwrap().with_tls(certfile, keyfile).unwrap();
        assert!(listener.url().starts_with("https://127.0.0.1:"), "{}", listener.url());
        let playing = play(listener, "Hello");
        let connect = || TcpStream::connect(playing.0.address().unwrap()).unwrap();
        for stream in [true, false] {
            let client = secured(connect(), cert.der(), &[b"h2", b"http/1.1"]);
            let answer = ask(client, "/v1/chat/completions", &chat(stream));
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            // An end that is not announced inside of TLS is an error of `read_to_string`.
            assert_eq!(answer.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), stream, "{answer}");
        }
        let mut only_http2 = secured(connect(), cert.der(), &[b"h2"]);
        let error = only_http2.write_all(b"x").and_then(|()| only_http2.read(&mut [0])).unwrap_err();
        assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
        let refused = ask(connect(), "/health", &Value::Null);
        assert!(refused.starts_with("HTTP/1.1 400 ") && refused.contains("use `https://`"), "{refused}");
        end(playing);
    }
}

/// A client that shakes no hands must cost those behind it nothing.
#[test]
fn a_handshake_that_does_not_end_keeps_no_other_client_waiting() {
    let (folder, CertifiedKey { cert, signing_key }) = (Folder::new("silent"), certificate());
    let both = folder.file("both.pem", &(cert.pem() + &signing_key.serialize_pem()));
    let playing = play(bind("127.0.0.1", 0).unwrap().with_tls(&both, &both).unwrap(), "Hello");
    let connect = || TcpStream::connect(playing.0.address().unwrap()).unwrap();
    let (silent, mut begun) = (connect(), connect());
    begun.write_all(b"\x16\x03\x01").unwrap();
    let answer = ask(secured(connect(), cert.der(), &[]), "/health", &Value::Null);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop((silent, begun));
    end(playing);
}

/// A client that leaves in the middle of its stream frees its blocks behind TLS as well, and one
/// that is cut off sees that.
#[test]
fn a_client_of_tls_that_leaves_is_noticed() {
    let (folder, CertifiedKey { cert, signing_key }) = (Folder::new("leaves"), certificate());
    let both = folder.file("both.pem", &(cert.pem() + &signing_key.serialize_pem()));
    let listener = bind("127.0.0.1", 0).unwrap().with_tls(&both, &both).unwrap();
    let (server, mut runner) = serve_at(listener, "toy", &"x".repeat(1_000_000));
    for stream in [true, false] {
        let socket = TcpStream::connect(server.address().unwrap()).unwrap();
        let mut client = secured(socket, cert.der(), &[]);
        let body = chat(stream).to_string();
        let len = body.len();
        write!(
            client,
            "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-length: {len}\r\n\r\n{body}"
        )
        .unwrap();
        let before = runner.driver.stats().generated_tokens;
        run_until(&mut runner, |stats| stats.generated_tokens > before + 2);
        drop(client);
        run_until(&mut runner, |stats| (stats.num_running, stats.num_waiting) == (0, 0));
    }
    server.drain(Duration::ZERO);
    server.shutdown();
}

fn run_until(runner: &mut Runner, is_reached: impl Fn(&streamcore_engine::Stats) -> bool) {
    for _ in 0..1_000_000 {
        if is_reached(&runner.driver.stats()) {
            return;
        }
        runner.step(Duration::from_millis(20));
    }
    panic!("never: {:?}", runner.driver.stats());
}

/// A wrong file has to be named before a model is loaded for minutes.
#[test]
fn files_that_make_no_certificate_are_named() {
    let (folder, CertifiedKey { cert, signing_key }) = (Folder::new("files"), certificate());
    let certfile = folder.file("cert.pem", &cert.pem());
    let keyfile = folder.file("key.pem", &signing_key.serialize_pem());
    let other = folder.file("other.pem", &certificate().signing_key.serialize_pem());
    let (empty, missing) = (folder.file("empty.pem", ""), folder.0.join("missing.pem"));
    for (certfile, keyfile, named) in [
        (&missing, &keyfile, "missing.pem"),
        (&certfile, &missing, "missing.pem"),
        (&empty, &keyfile, "empty.pem"),
        (&certfile, &empty, "empty.pem"),
        (&certfile, &certfile, "cert.pem"),
        (&certfile, &other, "cert.pem"),
    ] {
        let error = bind("127.0.0.1", 0).unwrap().with_tls(certfile, keyfile).unwrap_err().to_string();
        assert!(error.contains(named) && !error.contains('\n'), "{error}");
    }
}

/// nginx and sidecars reach a server by a path: whole answers, streams, clients that leave and the
/// end of the server as by a port.
#[test]
fn a_unix_domain_socket_serves_as_a_port_does() {
    let folder = Folder::new("uds");
    let path = folder.0.join("s");
    let listener = bind_unix(&path).unwrap();
    assert_eq!((listener.address(), &*listener.url()), (None, "http://localhost"));
    // It waits for the model like this one.
    let early = UnixStream::connect(&path).unwrap();
    let playing = play(listener, "Hello");
    assert!(ask(early, "/health", &Value::Null).starts_with("HTTP/1.1 200 "));
    for stream in [true, false] {
        let answer = ask(UnixStream::connect(&path).unwrap(), "/v1/chat/completions", &chat(stream));
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\"finish_reason\":\"stop\""),
            "{answer}"
        );
    }
    assert_eq!(bind_unix(&path).unwrap_err().kind(), ErrorKind::AddrInUse, "one server is enough");
    end(playing);
    assert!(!path.exists(), "the file goes with its server");
}

/// The client of a socket whose peer has gone must free everything at once, also before its answer
/// has begun.
#[test]
fn a_client_of_a_unix_domain_socket_that_leaves_is_noticed() {
    let folder = Folder::new("uds-leaves");
    let path = folder.0.join("s");
    let (server, mut runner) = serve_at(bind_unix(&path).unwrap(), "toy", &"x".repeat(1_000_000));
    for stream in [true, false] {
        let mut client = UnixStream::connect(&path).unwrap();
        let body = chat(stream).to_string();
        let len = body.len();
        write!(
            client,
            "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-length: {len}\r\n\r\n{body}"
        )
        .unwrap();
        let before = runner.driver.stats().generated_tokens;
        run_until(&mut runner, |stats| stats.generated_tokens > before + 2);
        drop(client);
        run_until(&mut runner, |stats| (stats.num_running, stats.num_waiting) == (0, 0));
    }
    server.drain(Duration::ZERO);
    server.shutdown();
}

/// A restart after a crash must not need a hand to remove the file; a file that is no socket must
/// stay.
#[test]
fn only_a_socket_that_a_dead_server_has_left_is_replaced() {
    let folder = Folder::new("uds-left");
    let left = folder.0.join("left");
    drop(UnixListener::bind(&left).unwrap());
    assert!(left.exists());
    let listener = bind_unix(&left).unwrap();
    assert!(UnixStream::connect(&left).is_ok());
    drop(listener);
    assert!(!left.exists());

    let file = folder.file("file", "mine");
    let error = bind_unix(&file).unwrap_err();
    assert!(error.to_string().contains("which is no socket"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert!(bind_unix(&folder.0.join("no/such/folder")).is_err());
    assert!(bind_unix(Path::new(&"x".repeat(200))).is_err());
}

/// Proxies differ in whether they take their own path away: a client must get to the routes, and
/// read of paths that it can ask for.
#[test]
fn the_path_of_a_proxy_is_taken_away_where_it_is_left() {
    let playing = play(bind("127.0.0.1", 0).unwrap().under("/llm/".to_owned()), "Hello");
    let get = |path: &str| ask(TcpStream::connect(playing.0.address().unwrap()).unwrap(), path, &Value::Null);
    for (path, status) in [
        ("/llm/v1/models", "200"),
        ("/v1/models", "200"),
        ("/llm/v1/models?a=b", "200"),
        ("/llm/health", "200"),
        ("/llm", "404"),
        ("/llm?a", "404"),
        ("/llmv1/models", "404"),
        ("/llm/llm/v1/models", "404"),
    ] {
        let answer = get(path);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
    assert!(
        get("/llm/v1/v1/models").contains("no route `/llm/v1/v1/models`, did you mean `/llm/v1/models`?")
    );
    assert!(get("/llm/openapi.json").contains(r#""servers":[{"url":"/llm"}]"#));
    end(playing);
}
