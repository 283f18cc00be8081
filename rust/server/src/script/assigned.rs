//! Which answer each open request gets: the routes leave it here, the runner finds it by the
//! request's id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use streamcore_engine::RequestId;

use super::answer::ScriptedAnswer;

/// The answers of open requests, each with the arrival of its request.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers(Arc<Mutex<ByRequest>>);

type ByRequest = HashMap<RequestId, (Arc<ScriptedAnswer>, Instant)>;

impl Answers {
    /// Gives a request that arrives now its answer, before the driver queues it.
    pub(super) fn assign(&self, id: RequestId, answer: Arc<ScriptedAnswer>) -> Assigned {
        self.lock().insert(id, (answer, Instant::now()));
        Assigned { answers: self.clone(), id }
    }

    /// The answer and the arrival of a request; `None` if its stream has been dropped.
    pub(super) fn get(&self, id: RequestId) -> Option<(Arc<ScriptedAnswer>, Instant)> {
        self.lock().get(&id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, ByRequest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's claim to its answer. The reader of the request's tokens keeps it; dropping it
/// forgets the answer.
#[derive(Debug)]
pub struct Assigned {
    answers: Answers,
    id: RequestId,
}

impl Drop for Assigned {
    fn drop(&mut self) {
        self.answers.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::answer::Ending;
    use super::*;

    /// A test server that runs for a day must not keep the answer of every request it has had.
    #[test]
    fn an_answer_is_kept_as_long_as_its_stream() {
        let answer = Arc::new(ScriptedAnswer {
            tokens: vec![7],
            call_ids: Vec::new(),
            first_token_delay: Duration::ZERO,
            token_delay: Duration::ZERO,
            ending: Ending::Length,
        });
        let answers = Answers::default();
        let [first, second] = [1, 2].map(|id| answers.assign(RequestId(id), Arc::clone(&answer)));
        drop(first);
        assert_eq!(answers.get(RequestId(1)), None);
        assert_eq!(answers.get(RequestId(2)).map(|(answer, _)| answer), Some(answer));
        drop(second);
        assert!(answers.lock().is_empty());
    }
}
