//! Progress of reading, on stderr: a bar on a terminal, otherwise a line every few seconds.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console::errln;

/// Time between two plain lines, and before the first.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Steps between two readings of the clock.
const CHECK_EVERY: u64 = 1_024;

pub(super) enum VerifyProgress {
    Bar(ProgressBar),
    Lines {
        all: u64,
        done: u64,
        steps: u64,
        next: Instant,
    },
}

impl VerifyProgress {
    /// `all` is the total, in any unit.
    pub(super) fn new(all: u64) -> Self {
        if !io::stderr().is_terminal() {
            return Self::Lines {
                all,
                done: 0,
                steps: 0,
                next: Instant::now() + LINE_EVERY,
            };
        }
        let bar = ProgressBar::with_draw_target(Some(all), ProgressDrawTarget::stderr());
        let template = "   reading  {bar:36.magenta/black.bright}  {percent}%, {eta} left";
        let style = ProgressStyle::with_template(template);
        bar.set_style(
            style
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("━╸─"),
        );
        Self::Bar(bar)
    }

    pub(super) fn step(&mut self, by: u64) {
        match self {
            Self::Bar(bar) => bar.inc(by),
            Self::Lines {
                all,
                done,
                steps,
                next,
            } => {
                *done += by;
                *steps += 1;
                if steps.is_multiple_of(CHECK_EVERY) && Instant::now() >= *next {
                    *next = Instant::now() + LINE_EVERY;
                    errln!("reading: {} %", *done * 100 / (*all).max(1));
                }
            }
        }
    }
}

/// Clears the bar.
impl Drop for VerifyProgress {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
