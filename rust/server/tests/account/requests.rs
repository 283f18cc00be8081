//! The tasks of requests, and how they are answered.

use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

use axum::body::{Body, HttpBody};
use axum::http::Response;
use http_body_util::BodyExt;

use crate::client::Phase;
use crate::common::poll_once;
use crate::game::REASONS;
use crate::shadow::Sequence;
use crate::world::World;

impl World {
    /// The task of a request goes on as far as it can.
    pub fn poll(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some(answering) = &mut client.answering else { return };
        let count = || self.driver.metrics().prompt_tokens.load(Relaxed);
        let before = count();
        // Those of a request that is queued now follow this one.
        let id_before = self.driver.new_id();
        let polled = poll_once(pin!(answering));
        if count() > before {
            let (prompt_len, kept_bytes) = (client.asked.prompt_len(), client.asked.kept_bytes());
            let sequence = Sequence { prompt_len, is_queued: true, kept_bytes, ..Default::default() };
            client.sequences = vec![sequence; client.asked.num_choices];
            client.first_id = id_before.0 + 1;
            client.phase = Phase::Open;
        }
        if let Poll::Ready(Ok(response)) = polled {
            client.answering = None;
            self.answered(at, response);
        }
    }

    fn answered(&mut self, at: usize, response: Response<Body>) {
        let client = &mut self.clients[at];
        let status = response.status().as_u16();
        *self.game.statuses.entry(status).or_default() += 1;
        let body = response.into_body();
        let is_stream = status == 200 && client.asked.stream;
        client.phase = if is_stream { Phase::Streaming } else { Phase::Answered };
        if !is_stream {
            client.sequences.clear();
            client.num_untaken = body.size_hint().exact().unwrap() as usize;
        }
        if status == 429 {
            let Poll::Ready(read) = poll_once(pin!(body.collect())) else { panic!("a refusal is whole") };
            let said = String::from_utf8(read.unwrap().to_bytes().to_vec()).unwrap();
            let (_, why) = REASONS.iter().find(|(words, _)| said.contains(words)).expect("it says why");
            *self.game.refused_for.entry(why).or_default() += 1;
            self.clients.swap_remove(at);
        } else {
            client.answer = Some(body);
        }
    }
}
