//! The extension module `streamcore._core`: an export list.
//!
//! Every method converts its arguments, releases the interpreter while Rust works or waits, and
//! converts the result. No thread of Rust's own ever attaches to the interpreter: a descriptor
//! wakes the event loop.

use pyo3::prelude::*;

mod asgi;
mod config;
mod errors;
mod given_back;
mod harmless;
mod kernels;
mod logging;
mod scheduler;
mod script;
mod server;
mod signals;
mod step;
mod trace;

#[pymodule]
mod _core {
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name")]
    const is_release: bool = !cfg!(debug_assertions);
    #[pymodule_export]
    use crate::asgi::{Doorbell, Exchange};
    #[pymodule_export]
    use crate::config::EngineConfig;
    #[pymodule_export]
    use crate::harmless::harmless_text;
    #[pymodule_export]
    use crate::kernels::kernels;
    #[pymodule_export]
    use crate::logging::{close_log, flush_log, init_logging, json_line, log};
    #[pymodule_export]
    use crate::scheduler::Scheduler;
    #[pymodule_export]
    use crate::script::Script;
    #[pymodule_export]
    use crate::server::{Listener, Server, TextModel, metrics_reference, parser_names};
    #[pymodule_export]
    use crate::signals::end_on_signals;
    #[pymodule_export]
    use crate::step::{StepBuffers, StepPlan, row_parameters, step_table};
    #[pymodule_export]
    use crate::trace::{replay, simulate, trace_model};
}
