//! `streamcore._core.kernels`: addresses and sizes in, kernels run with the interpreter released.

use pyo3::prelude::*;

#[pymodule]
pub(crate) mod kernels {}
