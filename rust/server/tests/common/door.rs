//! The second door in a test's own thread: what uvicorn does on one side, what a thread of the
//! server does on the other.

use std::io::{PipeReader, Read, pipe};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use bytes::Bytes;
use streamcore_server::door::{Doorbell, Exchange, Part, RequestHead};
use tokio::task::unconstrained;

use super::{Transcript, poll_once};

/// A bell, and the descriptor that an event loop would watch.
pub struct Bell {
    pub bell: Arc<Doorbell>,
    descriptor: PipeReader,
}

impl Bell {
    pub fn new() -> Self {
        let (descriptor, writer) = pipe().unwrap();
        Self { bell: Arc::new(Doorbell::new(OwnedFd::from(writer).into())), descriptor }
    }

    /// Waits until it rings, and takes what is ready.
    pub fn wait(&mut self) -> Vec<(u64, Part)> {
        self.descriptor.read_exact(&mut [0; 8]).unwrap();
        self.bell.take()
    }
}

/// One exchange, and its task, which runs only when it is polled.
pub struct Call {
    pub exchange: Exchange,
    pub bell: Bell,
    task: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Call {
    pub fn open(router: Router, request: &Request<()>) -> Self {
        let bell = Bell::new();
        let headers = request.headers().iter();
        let target = request.uri().to_string();
        let head = RequestHead {
            method: request.method().as_str().as_bytes(),
            prefix: "",
            target: target.as_bytes(),
            headers: headers.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())).collect(),
        };
        let (exchange, task) = Exchange::open(router, &head, &bell.bell, 7);
        // A test polls more often within one poll of its own than tokio lets a task do.
        Self { exchange, bell, task: Some(Box::pin(unconstrained(task))) }
    }

    /// Lets the task go on as far as it can; what it has made then.
    pub fn parts(&mut self) -> Vec<Part> {
        if let Some(task) = &mut self.task
            && poll_once(Pin::new(task)).is_ready()
        {
            self.task = None;
        }
        let ready = self.bell.bell.take();
        ready.into_iter().map(|(number, part)| (number == 7).then_some(part).unwrap()).collect()
    }

    /// The server goes down with the request still open.
    pub fn drop_task(&mut self) {
        self.task = None;
    }
}

/// Sends a request through the door and reads the answer; `work` is called whenever there is
/// nothing to read.
pub fn play(router: Router, request: Request<Bytes>, mut work: impl FnMut()) -> Transcript {
    let (head, body) = request.into_parts();
    let mut call = Call::open(router, &Request::from_parts(head, ()));
    call.exchange.resume();
    let mut response = None;
    let mut writes = Vec::new();
    loop {
        let parts = call.parts();
        if parts.is_empty() {
            work();
        }
        for part in parts {
            match part {
                Part::BodyWanted => call.exchange.feed(body.clone(), true),
                Part::Head(head) => response = Some(Response::from_parts(head, ())),
                Part::Data { data, is_last } => {
                    if !data.is_empty() {
                        writes.push(String::from_utf8(data.to_vec()).unwrap());
                    }
                    if is_last {
                        return Transcript { head: response.unwrap(), writes, is_cut: false };
                    }
                }
                Part::Lost => {
                    return Transcript {
                        head: response.expect("the answer has begun"),
                        writes,
                        is_cut: true,
                    };
                }
            }
            call.exchange.resume();
        }
    }
}

/// Returns a request twice: as the routes take it, and as the door does.
pub fn twice(request: Request<Body>) -> (Request<Body>, Request<Bytes>) {
    let (head, body) = request.into_parts();
    let Poll::Ready(body) = poll_once(std::pin::pin!(axum::body::to_bytes(body, usize::MAX))) else {
        panic!("the body of a test's request is complete")
    };
    let body = body.unwrap();
    let copy = Request::from_parts(head.clone(), body.clone());
    (Request::from_parts(head, Body::from(body)), copy)
}
