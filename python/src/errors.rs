//! What Python sees of spillring's errors.

use pyo3::exceptions::{PyException, PyTimeoutError, PyValueError};
use pyo3::{PyErr, create_exception};
use spillring::error::{ConfigError, TicketError, TryPublishError};

create_exception!(
    spillring,
    SpillringError,
    PyException,
    "What all errors of this package have in common, but for ValueError, TypeError and TimeoutError."
);
create_exception!(
    spillring,
    StartError,
    SpillringError,
    "The publisher did not start: its spill, ring or import cannot be used."
);
create_exception!(
    spillring,
    FullError,
    SpillringError,
    "There is no room in the ring now: the entry was not published."
);
create_exception!(
    spillring,
    ClosedError,
    SpillringError,
    "The publisher is closed."
);
create_exception!(
    spillring,
    ForkedError,
    SpillringError,
    "The publisher was made before a fork, and this is the child."
);

pub(crate) fn config(error: &ConfigError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

pub(crate) fn start(error: &spillring::error::StartError) -> PyErr {
    match error {
        spillring::error::StartError::Config(error) => config(error),
        other => StartError::new_err(other.to_string()),
    }
}

pub(crate) fn refused<E>(error: &TryPublishError<E>) -> PyErr {
    match error {
        TryPublishError::Full(_) => FullError::new_err(error.to_string()),
        TryPublishError::Closed(_) => ClosedError::new_err(error.to_string()),
    }
}

pub(crate) fn ticket(error: TicketError) -> PyErr {
    match error {
        TicketError::Elapsed => PyTimeoutError::new_err(error.to_string()),
        TicketError::DrainerEnded => ClosedError::new_err("the publisher is closed"),
        other => SpillringError::new_err(other.to_string()),
    }
}
