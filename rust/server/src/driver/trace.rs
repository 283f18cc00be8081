//! What the driver adds to a trace: its place.

use streamcore_trace::Recorder;

use super::{Driver, lock};

impl Driver {
    /// Writes every call to the engine down from now on. To be called before the first step.
    pub fn record(&self, recorder: Recorder) {
        lock(&self.core).engine.record(recorder);
    }
}
