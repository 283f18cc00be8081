//! The extension module `streamcore._core`: an export list.

use pyo3::prelude::*;

mod kernels;

#[pymodule]
mod _core {
    #[pymodule_export]
    use crate::kernels::kernels;
}
