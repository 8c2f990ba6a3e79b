//! The native half of Python's package `spillring`: `lib/spillring/__init__.py` is the other half.
//!
//! No thread of spillring's ever holds or waits for the GIL, so an interpreter that ends, forks or hangs stops none of
//! them.

mod errors;
mod log;
mod publisher;
mod running;
mod settings;

/// Publishes audit entries without waiting.
#[pyo3::pymodule]
mod _spillring {
    #[pymodule_export]
    use crate::errors::{ClosedError, ForkedError, FullError, SpillringError, StartError};
    #[pymodule_export]
    use crate::log::_log_pipe;
    #[pymodule_export]
    use crate::publisher::Publisher;
    #[pymodule_export]
    use crate::running::{_close_all, _count_fork};
}
