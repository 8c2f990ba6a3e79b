//! Lines from a file or standard input, with a bound, and without being stuck in a read when an end is asked for.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use crate::signals::Signals;
use crate::telling::Problem;

/// Lines may be as long as this, and as the largest entry.
const LINE_BYTES_MAX: usize = 16 << 20;

/// What some editors put before the first line of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;

/// The longest wait for input between two looks at the signals.
const LOOK_MAX: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// The input, cut into lines.
#[derive(Debug)]
pub(super) struct Lines {
    input: File,
    line_max: usize,
    /// Read and not yet handed out: the bytes from `start` on, of which those before `searched` hold no line feed.
    buffer: Vec<u8>,
    start: usize,
    searched: usize,
    number: u64,
    rest: Rest,
}

/// What there is beside the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    More,
    /// The line that is being read is too long: it is passed over up to its end.
    Overlong,
    Nothing,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next<'a> {
    Line(&'a [u8]),
    /// A line longer than this many bytes.
    TooLong(usize),
    End,
    /// An end was asked for: nothing more is handed out.
    Asked,
    Failed(io::Error),
}

enum Cut {
    Line(Range<usize>),
    TooLong,
}

impl Lines {
    /// Opens the file, or standard input. Lines may be at least `line_max` bytes long.
    pub(super) fn open(path: Option<&Path>, line_max: usize) -> Result<Self, Problem> {
        let (opened, name) = match path {
            Some(path) => (open(path), path.display().to_string()),
            None => (standard_input(), "standard input".to_owned()),
        };
        let input = opened.map_err(|error| {
            Problem::new(format_args!(
                "the input {name} cannot be read: {error}; give a file of entries with `--input FILE`, or - for \
                 standard input"
            ))
        })?;
        Ok(Self {
            input,
            line_max: line_max.max(LINE_BYTES_MAX),
            buffer: Vec::with_capacity(2 * READ_BYTES),
            start: 0,
            searched: 0,
            number: 0,
            rest: Rest::More,
        })
    }

    /// Whether this file is what is read.
    pub(super) fn come_from(&self, path: &Path) -> bool {
        let place = |file: Metadata| (file.dev(), file.ino());
        let input = self.input.metadata().map(place);
        input.is_ok_and(|input| fs::metadata(path).is_ok_and(|it| place(it) == input))
    }

    /// How many lines have been handed out.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next line. Once an end was asked for there is none, although some may be in the buffer.
    pub(super) fn next(&mut self, signals: &Signals) -> Next<'_> {
        loop {
            if self.at_end() {
                return Next::End;
            }
            if signals.asked() {
                return Next::Asked;
            }
            match self.cut() {
                Some(Cut::Line(line)) => return Next::Line(&self.buffer[line]),
                Some(Cut::TooLong) => return Next::TooLong(self.line_max),
                None => {}
            }
            if let Err(error) = self.fill() {
                return Next::Failed(error);
            }
        }
    }

    fn at_end(&self) -> bool {
        self.rest == Rest::Nothing && self.start == self.buffer.len()
    }

    /// The next whole line of the buffer.
    fn cut(&mut self) -> Option<Cut> {
        let fresh = &self.buffer[self.searched..];
        let (line, next) = match fresh.iter().position(|&byte| byte == b'\n') {
            Some(at) => {
                let end = self.searched + at;
                (self.start..end, end + 1)
            }
            None if self.rest == Rest::Nothing && self.start < self.buffer.len() => {
                (self.start..self.buffer.len(), self.buffer.len())
            }
            None => {
                self.searched = self.buffer.len();
                if self.searched - self.start > self.line_max {
                    self.rest = Rest::Overlong;
                }
                if self.rest == Rest::Overlong {
                    self.start = self.searched;
                }
                return None;
            }
        };
        let marked = self.number == 0 && self.buffer[line.clone()].starts_with(BYTE_ORDER_MARK);
        let line = if marked {
            line.start + BYTE_ORDER_MARK.len()..line.end
        } else {
            line
        };
        (self.start, self.searched) = (next, next);
        self.number += 1;
        let overlong = self.rest == Rest::Overlong;
        if overlong {
            self.rest = Rest::More;
        }
        Some(if overlong || line.len() > self.line_max {
            Cut::TooLong
        } else {
            Cut::Line(line)
        })
    }

    /// Reads once, unless nothing comes for a while.
    fn fill(&mut self) -> io::Result<()> {
        let mut input = [PollFd::new(&self.input, PollFlags::IN)];
        match poll(&mut input, Some(&LOOK_MAX)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        let filled = self.buffer.len();
        self.buffer.resize(filled + READ_BYTES, 0);
        let read = self.input.read(&mut self.buffer[filled..]);
        self.buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => self.end(),
            Err(error)
                if [ErrorKind::Interrupted, ErrorKind::WouldBlock].contains(&error.kind()) => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        Ok(())
    }

    /// The input is at its end. A line that is too long and has no end has been one all the same.
    fn end(&mut self) {
        if self.rest == Rest::Overlong {
            self.buffer.push(b'\n');
        } else {
            self.rest = Rest::Nothing;
        }
    }
}

/// A pipe in the file system is opened without waiting for its writer, and waited for like all input.
fn open(path: &Path) -> io::Result<File> {
    let wait_for_nobody = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(wait_for_nobody)
        .open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(ErrorKind::IsADirectory, "it is a directory"));
    }
    Ok(file)
}

fn standard_input() -> io::Result<File> {
    io::stdin().as_fd().try_clone_to_owned().map(File::from)
}
