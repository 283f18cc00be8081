//! The formats of calls, a file for each way of writing them.

pub(crate) mod gemma;
pub(crate) mod harmony;
pub(crate) mod json_arguments;
pub(crate) mod json_call;
pub(crate) mod json_calls;
pub(crate) mod json_object;
pub(crate) mod mistral;
pub(crate) mod named_json;
pub(crate) mod python_arguments;
pub(crate) mod pythonic;
pub(crate) mod tagged;
