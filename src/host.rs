//! Code that the host supplies: encoders, `Drop`, wakers, log subscribers, metrics recorders, sinks. A panic in it
//! must not end one of spillring's threads.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code of the host; `None` if it panicked.
pub(crate) fn call<T>(code: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(code))
        .map_err(drop_quietly)
        .ok()
}

/// Drops a value of the host. If its `Drop` panics, the payload of that panic is leaked: it could panic again.
pub(crate) fn drop_quietly<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        std::mem::forget(payload);
    }
}

/// Log lines. `tracing_subscriber::fmt` panics in the caller if stderr is closed, so each line is a [`call`].
pub(crate) mod log {
    macro_rules! line {
        ($level:ident, $($fields:tt)*) => {{
            let _line = $crate::host::call(|| tracing::$level!(target: "spillring", $($fields)*));
        }};
    }
    macro_rules! error { ($($fields:tt)*) => { $crate::host::log::line!(error, $($fields)*) }; }
    macro_rules! warning { ($($fields:tt)*) => { $crate::host::log::line!(warn, $($fields)*) }; }
    macro_rules! info { ($($fields:tt)*) => { $crate::host::log::line!(info, $($fields)*) }; }
    macro_rules! debug { ($($fields:tt)*) => { $crate::host::log::line!(debug, $($fields)*) }; }
    pub(crate) use {debug, error, info, line, warning};
}

#[cfg(test)]
mod tests {
    use super::*;

    struct PanicsWhenDropped;

    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            std::panic::panic_any("dropped");
        }
    }

    #[test]
    fn a_panic_ends_the_call_alone_even_if_its_payload_panics_too() {
        assert_eq!(call(|| 1), Some(1));
        assert_eq!(
            call(|| std::panic::panic_any(PanicsWhenDropped)),
            None::<()>
        );
        drop_quietly(PanicsWhenDropped);
    }
}
