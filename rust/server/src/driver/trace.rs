//! Recording of a driver's calls to its engine.

use streamcore_trace::Recorder;

use super::{Driver, lock};

impl Driver {
    /// Records every call to the engine. Call it before the first step.
    pub fn record(&self, recorder: Recorder) {
        lock(&self.core).engine.record(recorder);
    }
}
